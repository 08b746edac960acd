# ruff: noqa: RUF001  # letters of many scripts
"""Descriptions as hospitals write them: whole words, and what is denied isn't said."""

from collections.abc import Callable

import pytest

from ich25d.dicom import description
from ich25d.dicom.header import Header
from ich25d.dicom.series import order_series

PLAIN = """
CT CRANEO SIN CONTRASTE 5MM | CEREBRO S/CTE | TAC CRANEO SIMPLE 3MM | Cabeza sin/contraste | CRANEO S C
TC CRANEO S/CONTR | sin cte | sin inyeccion | CT SCHEDEL BLANCO | hersenen z/c | schedel zonder i.v. contrast
CCT NATIV 4.0 | Schaedel Nativ 2.0 H31s | CCT o. KM | CCT ohne | Kopf nativ | KM ohne | ohne i.v. KM
HIRN OHNE KM 5.0 | native Phase | cerebral sans injection | SANS IV | SS INJ | CRANE C- | sans pdc
CEREBRALE SENZA | senza mdc ev | ENCEFALO BASALE | CRANIO S/MDC | smdc | diretta | sem contraste ev
TC CRANIO S/C | CRANIO SIMPLES | TK GLOWY B/K | bez kontrastu i.v. | glowa bez | bez srodka cieniujacego
KONTRASTSIZ AXIAL | IV KONTRASTSIZ | beyin bt - kontrastsız | kontrastsız kranial | utan kontrast 5mm
HJÄRNA UTAN K | hjärna nativ | cerebrum u.k. | CEREBRUM UDEN iv KONTRAST | u/k | CT caput uten iv kontrast
CT hlavy nativ | mozek bez KL | bez k.l. iv | nativne | без КУ | без контрастного усиления
без внутривенного контрастирования | нативное исследование | БЕЗ КОНТРАСТА | χωρίς έγχυση σκιαγραφικού | Χ/Σ
ΑΝΕΥ ΣΚΙΑΓΡΑΦΙΚΟΥ | 脳単純CT | 頭部 造影なし | 造影剤なし | 非造影CT | 平扫 5mm | 头部CT平扫 | 不增强 | 非增强
未注射造影剂 | 비조영 CT | 조영제 미사용 | Brain non-contrast | Non-Enhance | pre contrast | Pre-enhance
Brain Non Enhanced | WITHOUT IV CON | W/O IVCON | CT HEAD WO IV CONTRAST | HEAD W/O DYE | Head - no contrast
HEAD(WITHOUT) | HEAD NO C | NON-IV | no dye | Brain w/o C | WO_CONTRAST | HEAD_WO | Head_Without_5mm
UNENH HEAD | Unenhanced Phase | NCE CT | NC-CT | NC HEAD CT | NONCON HEAD THIN | Non Con Thins | HEAD SEQ W-O
CT BRAIN W.O. CONTRAST | without contrast (bone) | Head/Brain without Contrast | PLAIN HEAD | CT Head Plain 5mm
NON CONT | NonContrast CT | no contrast given | IV contrast not administered | contrast: no | Contrast=None
Contrast - None | CONTRAST N | contraste: no | contraste (no) | contrasto no | contrast nee | kontrast nej
Kontrast: Nein | KONTRAST YOK | Intravenous contrast was not used | ohne Kontrast | Ohne KM Gabe
fara substanta de contrast | pre-contrast head | before IV contrast | pre IV | Pre KM | vor KM | SIN CONTRASTE
CRANEO S/C CONTRASTE NO | CRANEO S/C | CRANIO SEM CONTRASTE | ENCEFALO SENZA CONTRASTO | ENCEFALO SENZA MDC
SCHEDEL ZONDER CONTRAST | SKALLE UTAN KONTRAST | CEREBRUM UDEN KONTRAST | GLOWA BEZ KONTRASTU
KONTRASTSIZ BEYIN BT | Beyin BT kontrastsız | CRANE SANS CONTRASTE | CT HEAD WITHOUT CONTRAST | CONTRAST: NONE
HEAD WITHOUT INTRAVENOUS CONTRAST | NO IV CONTRAST | NON CONTRASTED HEAD | HEAD W/OUT CONTRAST
HEAD WO CONTRAST | HEAD NON-ENHANCED CONTRAST - | CT HEAD W/O CONTRAST | HEAD W/O IV CON | NON CON HEAD
NON-CON | NONCON 5MM | NONCONTRAST | NON_CONTRAST_HEAD | UNENHANCED BRAIN | NCCT | NCCT HEAD 5.0 | NECT
PRE CONTRAST | PRECONTRAST 5mm | PRE-CON | Head Pre IV contrast | CT BRAIN PLAIN | 5/5mm Plain | Schaedel nativ
Schädel ohne KM | Kopf o. KM | Schädel o.KM 5mm | Kopf ohne Kontrastmittel
CCT ohne intravenöse Kontrastmittelgabe | Kopf KM: nein | KM-freie Serie kontrastmittelfrei | Nativ CCT
CRANE SANS INJECTION | Crâne sans IV | TDM cérébral sans injection de produit de contraste
CEREBRAL NON INJECTE | avant injection | CRANE SPC | TC cranio senza m.d.c.
TC encefalo basale senza somministrazione di mezzo di contrasto | Capo senza mdc | prima del mdc
TC CRANEO SIMPLE | craneo sin medio de contraste | cráneo sin civ contraste iv | TAC cerebral s/contraste
s/ contraste | antes de contraste | TC de crânio s/ contraste | sem uso de meio de contraste
Hersenen z. contrast | blanco schedel | Hersenen zonder iv contrast | CT hersenen blanco zonder contrast
Hjärna utan iv kontrast | Hjarna u. kontrast | utan k | Caput uten kontrast | CT Caput u/kontrast
CT cerebrum u. iv kontrast | før kontrast | kontrastfri | Głowa bez środka kontrastowego | glowa b/k
TK głowy bez podania kontrastu | faza natywna | CT mozku bez k.l. | CT mozku bez kontrastní látky
hlava nativne bez kl | nativní | CT mozku bez i.v. kontrastu | CT mozgu bez k. l. | pred k.l.
КТ головного мозга без контраста | без контрастирования | Голова нативная фаза | без в/в контрастирования
бесконтрастное исследование | контраст: нет | ΕΓΚΕΦΑΛΟΣ ΧΩΡΙΣ ΣΚΙΑΓΡΑΦΙΚΟ | χωρίς σκιαγραφικό | 頭部単純
単純CT | 造影なし | 造影(-) | 非造影 | 造影前 | 平扫 | 未增强 | 无造影剂 | 비조영 | 조영제 없이 | 조영 전
kontrastanyag nelkul kontraszt | 头颅平扫 | Koponya natív | kontrasztanyag nélkül | fără contrast
nativ fara substanta de contrast | Mozak bez kontrasta | brez kontrasta | ilman varjoainetta | natiivi pää
Kontrast madde verilmeden beyin | kontrast yok | beyin kontrast öncesi | C- | HEAD C- | Head (C-) | KM-
HEAD IV- | W/O | HEAD WITHOUT | HEAD W/O 5MM | not contrast enhanced | contrast not given | Contrast none given
CONTRAST NO | contrast free | contrast-free head | without administration of contrast material
no contrast material | without oral or IV contrast | tanpa kontras | بدون صبغة | ללא חומר ניגוד | HEAD N/C
BRAIN NC 5mm | before contrast | Prior to contrast
"""
CONTRAST = """
2.5mm SS40 CONTRAST | CRANEO C/CONTRASTE | CON CONTRASTE IV | c/c | TAC CON CONTRASTE | poscontraste
post contraste | Postcontrast | mit KM 5.0 | n. KM | nach i.v. KM | KM i.v. | avec IV | après injection IV
injection iodée | con mdc ev | dopo mezzo di contrasto | com contraste ev | pós contraste | na i.v. contrast
met i.v. contrast | z kontrastem iv | po kontrascie | KONTRASTLI | IV KONTRASTLI | med k | m/k
efter iv kontrast | с КУ | контрастирование | с в/в контрастированием | με έγχυση σκιαγραφικού | 造影 動脈相
增强扫描 | 增强 动脉期 | 조영후 | +C | C+ HEAD | HEAD (C+) | with contrast | WITH IV CON | W IV CONTRAST | W/CON
Post Contrast Thin | POST-C | Contrast Enhanced Head | Enhanced | ENHANCED PHASE | Delayed contrast | CE CT
CECT 5MM | arterial phase contrast | HEAD CONTRAST 5MM | Brain Contrast | CT HEAD W CONT | Post IV contrast
After contrast | Omnipaque | post gadolinium | HEAD WITH CONTRAST | HEAD W/ CONTRAST | HEAD W CONTRAST
HEAD W/C | CT HEAD WITH IV CONTRAST | POST CONTRAST | POSTCONTRAST | POST-CON 5mm | post gd | POST IV | post km
CECT | CECT HEAD | C+ | HEAD C+ | HEAD +C | CE 5mm | CONTRAST | CONTRAST ENHANCED | ENHANCED HEAD
Head IV contrast | with iv | con contraste | cráneo con contraste | TC cranio con mdc | dopo mdc | dopo m.d.c.
encefalo con contrasto | após contraste | com contraste | c/ contraste | avec injection | après injection
CRANE AVEC CONTRASTE | crâne injecté | CRANE IV+ | Schädel mit KM | Kopf nach KM | KM+ | CCT mit Kontrastmittel
nach Kontrastmittelgabe | Kopf m. KM | met contrast | na contrast | hersenen met iv contrast | med kontrast
efter kontrast | etter kontrast | med iv kontrast | m. kontrast | z kontrastem | po kontraście
po podaniu kontrastu | kontrastli beyin | kontrast sonrası | s k.l. | po k.l. | po kl | s kontrastem
с контрастом | после контрастирования | контрастное усиление | με σκιαγραφικό | μετά σκιαγραφικό | 造影 | 造影後
造影CT | 增强 | 头颅增强 | 조영증강 | 조영 후 | kontrasztanyaggal | cu contrast | sa kontrastom | varjoaineella
después de contraste | tras contraste | HEAD CONTRAST NO BONE | POST CONTRAST - HEAD | CONTRAST WITHOUT BONE
Omnipaque 300 post | post contrast delayed | DELAYED POST CON | no motion post contrast | Kopf KM
"""
BOTH = """
W/WO CONTRAST | HEAD W & W/O CONTRAST | WITH AND WITHOUT CONTRAST | without and with contrast
PRE AND POST CONTRAST | PRE/POST CONTRAST | sin y con contraste | ohne und mit KM | ohne/mit KM
avant et après injection | senza e con mdc | bez i z kontrastem | W WO CONTRAST | S/C CONTRASTE
with or without contrast
"""
ANGIO = """
CTA COW | CTA Head and Neck | CT ANGIO HEAD | angio | ANGIO TC | angio-scanner | Angio CT cervical
AngioCT cerebral | CTA MIP | CT angiografia | angiographie cerebrale | Carotides | Karotiden | CT-angiography
CTangiography | cta_head_thin | COW CTA 0.75 | КТ ангиография | 头颈CTA | 脑血管CTA | 脳血管 | 뇌혈관 CT
CTV brain | CT venography | venography | Venogram | ANGIOGRAFIA TC | angiotomografía | CTA | CTA_CAROTIDS
CTA HEAD 0.6 | CTA1 | Angio Head | ANGIOGRAPHY | CT Angiogram | CT-Angio | angioCT | ANGIO-CT | AngioTC
angioTAC cerebral | Angio-TDM | Angioscanner TSA | angiotomografia | CT Angiografie | Carotid | CAROTIDS 1mm
CIRCLE OF WILLIS | COW willis | CTV | CT VENOGRAM CTV | КТ-ангиография | ангио | αγγειογραφία | 血管 | 头颈血管
혈관 | anjiyo | BT anjiografi | Angio carotide
"""
PERFUSION = """
Perfusion | CT-Perfusion | CTP HEAD | CT PERFUSION 4D | Perfusion maps | rCBV map | TMAX | VPCT Perf | perfusión
Perfuzja mozgu | перфузия мозга | КТ-перфузия | 脑灌注 | 脳灌流 | 뇌관류 | dynamic perfusion | Perf 5mm
PERF_HEAD | CT PERFUSION | CT PERFUSION rCBF | PERF | CTP | Perf head 4D | Dynamic | 4D head | RBF | CBV | MTT
TTP | Tmax | VPCT | perfusie | perfuzja | perfuze | Perfusione | perfusão | perfusjon | перфузия | 灌注
灌流画像 | 관류 | Perfüzyon | dynamisch
"""
NEITHER = """
2.5mm stnd Disc SS40 | SUPERFICIAL SOFT | imperfect | HEMANGIOMA FOLLOWUP | PERFORATION? | perforated
angiomatous | HAEMANGIOMATA | lymphangioma | Angiolipoma | angiofibroma | cholangiogram | cholangio
PERFORMED BY | performance | perfect | Perfil | dynamics lab | IMPERFECTA | Perforating vessel
Osteogenesis imperfecta | hyperfusion | super fast | concern | Head congenital | precision | constant | contour
second | Contusion | postcentral | Preop | Posterior | ICE | ACE | Nova | Kontrolle | control | contro | Kontrol
control post op | SUPERFICIAL | SUPERFICIAL TISSUE | IMPERFECT | IMPERFECT POSITION | HEMANGIOMA | HAEMANGIOMA
Hemangioma orbit | PERFORATION | PERFORATED EAR | CAVERNOUS ANGIOMA | cavernous angiomas | гемангиома | ангиома
血管腫 | 血管瘤 | 혈관종 | HEAD 5mm | posterior fossa | POST OP | post trauma | Post-Surgical | HEAD H31s
AXIAL | Thin Head | hemodynamically unstable | hemangiopericytoma | Lymphangioma | angiomyolipoma | perforator
imperforate | Cranio | TESTA | head con 5mm | No comment | Portal
"""
PLAIN_ANGIO = "NON CON CTA HEAD | CTA nativ | NCCT CTA"
PLAIN_PERFUSION = "NCCT PERFUSION PROTOCOL | plain CTP"
TABLE = [
    (text.strip(), flags, outcome)
    for texts, flags, outcome in (
        (PLAIN, {"plain"}, "CONTRAST_TAG"),
        (CONTRAST, {"contrast"}, "CONTRAST"),
        (BOTH, {"contrast", "plain"}, "CONTRAST?"),
        ("pre CTA | NCCT before CTA | avant perfusion", {"plain"}, "CONTRAST_TAG"),
        (ANGIO, {"angio"}, "CONTRAST"),
        (PERFUSION, {"perfusion"}, "PERFUSION"),
        (NEITHER, set(), "CONTRAST_TAG"),
        (PLAIN_ANGIO, {"angio", "plain"}, "CONTRAST?"),
        (PLAIN_PERFUSION, {"perfusion", "plain"}, "CONTRAST?"),
    )
    for text in texts.replace("\n", " | ").split(" | ")
    if text.strip()
]


@pytest.mark.parametrize(("text", "flags", "outcome"), TABLE)
def test_a_series_is_refused_for_what_its_description_affirms_alone(
    make_header: Callable[..., Header], text: str, flags: set[str], outcome: str
) -> None:
    """An agent is named each time, as protocols leave it: plain scans are used all the same, and doubt is a remark."""
    found = description.description_flags(text.encode())
    assert set(found) - {"bone", "localizer"} == flags

    headers = [
        make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, 5.0 * k), description_flags=found, contrast=True)
        for k in range(4)
    ]
    ordering = order_series(headers)
    refused = {refusal.code for refusal in ordering.refusals}
    remarks = {remark.code for series in ordering.series for remark in series.remarks}
    assert refused or remarks == {outcome}
    assert not refused or refused == {outcome}
    assert bool(refused) == (outcome in {"CONTRAST", "PERFUSION"})


def test_a_description_of_contrast_without_an_agent_is_remarked(make_header: Callable[..., Header]) -> None:
    """De-identification empties the agent: the description alone is no reason to refuse, and none for silence."""
    flags = description.description_flags(b"POST CONTRAST")
    headers = [make_header(image_id=f"ID_{k}", origin_mm=(0.0, 0.0, 5.0 * k), description_flags=flags) for k in (0, 1)]
    (series,) = order_series(headers).series
    assert "CONTRAST?" in {remark.code for remark in series.remarks}


@pytest.mark.parametrize(
    ("text", "charset", "flag"),
    [
        ("Голова без контраста", "iso8859-5", "plain"), ("Голова без контраста", "cp1251", "plain"),
        ("χωρίς σκιαγραφικό", "iso8859-7", "plain"), ("头颅平扫", "gb18030", "plain"), ("增强", "gb18030", "contrast"),
        ("조영전", "euc_kr", "plain"), ("頭部単純", "iso2022_jp", "plain"), ("造影なし", "iso2022_jp", "plain"),
        ("造影", "shift_jis", "contrast"), ("Głowa bez środka kontrastowego", "iso8859-2", "plain"),
        ("fără contrast", "iso8859-2", "plain"), ("před k.l.", "iso8859-2", "plain"),
        ("før kontrast", "latin-1", "plain"),
        ("kontrastsız beyin", "iso8859-9", "plain"), ("después de contraste", "latin-1", "contrast"),
        ("血管造影", "gb18030", "angio"), ("灌注", "gb18030", "perfusion"),
    ],
)  # fmt: skip
def test_words_are_found_in_any_charset(text: str, charset: str, flag: str) -> None:
    """The charset isn't taken from the file: it is often wrong."""
    assert flag in description.description_flags(text.encode(charset))


def test_words_of_korean_follow_an_escape() -> None:
    """ISO 2022 IR 149 is written behind its escape sequence."""
    assert description.description_flags(b"\x1b$)C" + "비조영".encode("euc_kr")) == ("plain",)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("BONE BRAIN 1MM", {"bone"}), ("Knochen ohne KM", {"bone", "plain"}), ("Topogram 0.6", {"localizer"}),
        ("SCOUT1", {"localizer"}), ("Localizer", {"localizer"}), ("ISOTOPOS", set()), ("BONEPLUS", {"bone"}),
    ],
)  # fmt: skip
def test_bone_and_localizers(text: str, flags: set[str]) -> None:
    """What else of a description matters."""
    assert set(description.description_flags(text.encode())) == flags


NO_AGENT = """SIN CONTRASTE|WITHOUT CONTRAST|No contrast given|NO IV CONTRAST|Non-contrast|no contrast agent|w/o|NA|N/A
|UNKNOWN|NONE GIVEN|0|0 ml|-|C-|none|NO|N|Kein|keines|ohne KM|нет|Unenhanced|null|not given|nativ|  |."""
AGENT = """OMNIPAQUE|IV|CE|ISOVUE300/100|APPLIED|YES|1|Ultravist 370|CONTRAST|IV CONTRAST|C+|KM|Non-ionic|100 ML|mdc|
IOMERON 400 without saline|Visipaque, no reaction"""


@pytest.mark.parametrize("text", [text.strip("\n") for text in NO_AGENT.split("|")])
def test_ways_of_saying_none_are_no_agent(text: str) -> None:
    """In any language."""
    assert not description.names_contrast(text.encode())


@pytest.mark.parametrize("text", [text.strip("\n") for text in AGENT.split("|")])
def test_names_of_agents_are_agents(text: str) -> None:
    """Also such as say no more than that there was one."""
    assert description.names_contrast(text.encode())
