# ruff: noqa: RUF001  # letters of many scripts
"""Words of a Series Description that tell plain scans from others, in the languages of hospitals.

bytes -> description_flags -> `contrast`, `plain`, `angio`, `perfusion`, `bone`, `localizer`; the text is dropped

Words are whole ones, without case and accents. What the description denies (`sin contraste`, `KM: nein`) it doesn't
say: it says `plain`. A description may say both (`W/WO CONTRAST`).
"""

import itertools
import re
import unicodedata
from functools import lru_cache

_remembered = lru_cache(maxsize=4096)

_LETTERS = str.maketrans({"ł": "l", "ø": "o", "ı": "i", "æ": "ae", "đ": "d", "_": " ", "^": " ", "−": "-", "–": "-"})
_CHARSETS = ("iso8859-5", "cp1251", "iso8859-7", "gb18030", "euc_kr", "shift_jis")
"""Tried after UTF-8, whatever the file says: its charset is often wrong, and words of other scripts
can't be mistaken."""


def _fold(text: str) -> str:
    """Drop case, accents and widths of letters."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter)).translate(_LETTERS)


def _matcher(words: str) -> re.Pattern[str]:
    """Compile the words, folded as descriptions are; a final `*` stands for more letters."""
    folded = (re.escape(_fold(word)).replace(r"\*", r"\w*") for word in words.split())
    return re.compile("|".join(folded))


_TOPICS = {
    "contrast": _matcher(
        "contrast* kontrast* kontrasci* kontraszt* kontras mdc km ce cect gadolin* injection injections injecte* "
        "injecao inyeccion inyectad* iniezione inj ivkm kmiv pdc pci apc omnipaque iohexol iopamid* iopromid* "
        "iomeprol iomeron ultravist visipaque isovue optiray xenetix enhanced enhancement varjoaine* srodka "
        "srodkiem srodek контраст* ку σκιαγραφικ* 造影 增强 增強 조영 ניגוד צבע صبغ* الصبغة"
    ),
    "angio": _matcher(
        "angio angiogr* angioct angiotc angiotac angiotk angiotdm angioscan* angioscanner angiotom* angiobt "
        "angiocat anjio* anjiyo* cta ctv venogra* ctangio* carotid* karoti* carotis willis ангио ангиогр* "
        "ангиокт кта αγγειογραφ* 血管 혈관"
    ),
    "perfusion": _matcher(
        "perf perfus* perfuz* ctp vpct dynamic dynamik* dynamisch* dynamique* dynamisk* dynamicz* dinami* 4d rbf "
        "rbv rcbf rcbv cbf cbv mtt tmax ttp перфуз* αιματωσης 灌注 灌流 관류"
    ),
}  # fmt: skip
_PLAIN = _matcher(
    "plain nativ native nativa nativo nativn* unenh nce smdc natif natywn* natiivi nc ncct nect ncc ncon spc "
    "basal basale blanco simple simples diretta diretto натив* 平扫 平掃 単純 單純 비조영 opaksiz ilacsiz"
)
_LONG_NO = _matcher(
    "without sin sem senza sans zonder ohne utan uden uten ilman bez brez fara tanpa nelkul без χωρις before "
    "avant vor antes prima prior przed pred poed voor fore for ennen до πριν ανευ بدون ללא"
)
"""Other words may stand between these and what they deny. `poed` is Czech for before, its charset lost."""
_NO = _matcher(
    "non not no ss nil minus un pre kein keine keinen geen ej ingen ingen inget brak aucun aucune nessun ninguno "
    "sense be khong не нет 非 未 无 無 不 비 무"
)
_YES = _matcher(
    "with w post pos after con com avec apres mit nach efter etter med met na po dopo despues tras apos после μετα"
)
_AND = _matcher("and und og och y et e ed en i ve a oraz и και , ; + & vs then")
_FILLER = _matcher(
    "iv ev intra* endo* intraven* oral any the of de di del du des della d medio medios mezzo mezzi meio produit "
    "agent media material hay se administration to in or oder of eller ou 注射 使用"
)
_LATER_NO = _matcher("olmadan verilmeden oncesi yok nelkul なし 無し 無 없이 없음 전 前 안함 미사용 안 -free")
"""Deny what stands a few words before them."""
_NEXT_NO = _matcher(
    "no ohne sin sem senza sans zonder utan uden uten bez without без none non not nil nein nei nej nee nao nie "
    "ne ei hayir нет οχι nessuno ninguno aucun n 0 -"
)
"""Deny what stands right before them, where nothing follows that they could belong to."""
_SHORT = _matcher("con cont contr cte kontr c k kl iv ev gd enh enhance dye inyecc med")
"""Contrast where `without` or `after` stands right before; alone they are other words."""
_COLONS = frozenset({":", "=", "("})
_DONE = frozenset({"given", "used", "administered", "injected"})
_SHORT_YES = _matcher("with w post pos after po med nach mit avec apres dopo efter etter s m")

_REWRITTEN = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\bi\. ?v\b\.?|\be\. ?v\b\.?|\bi/v\b", "iv"),
        (r"\bk\. ?l\b\.?|\bm\. ?d\. ?c\b\.?|\bk\. ?m\b\.?|\bc\. ?m\b\.|\bm\. ?c\b\.?", " kontrast "),
        (r"\bw ?[/&+] ?(?:wo|w/o)\b|\bwwo\b|\bw w/?o\b", " with and without "),
        (r"(?<=[\u1100-\uffff])(?=[a-z])|(?<=[a-z])(?=[\u1100-\uffff])", " "),
        (r"\biv(?=con)", "iv "),
        (r"\bc[./]c\b", " with contrast "),
        (r"χ/σ", " without contrast "),
        (r"\bw[/\\ .-]?o(?:ut)?\b\.?|\bwith[ -]out\b", " without "),
        (r"\bw/", " with "),
        (r"\bwith c\b|\bwc\b", " with contrast "),
        (
            r"\bb[./ ]k\b\.?|\bu[./ ]k\b\.?|\bz[./]c\b\.?|\bn[./]c\b\.?|\bs[./ ]c\b\.?(?! *contrast)",
            " without contrast ",
        ),
        (r"\bs/c\b(?= *contrast)", " without and with "),
        (
            r"\b[sz][./ ]+ ?(?=contr|cte\b|inj|mdc|iv|mc\b)|\bo[./ ]+(?=km|kontr)|\b[ub][./ ]+(?=(?:iv )?[ck]ontr)",
            " without ",
        ),
        (r"\bc[./ ]+(?=contrast)", " with "),
        (r"\b(?:high|low) contrast\b", " "),
        (
            r"\b(?:km|mdc|[ck]ontrast[a-z]*?)[ -]?(?:s[iuy]z|freie?[sn]?|frie?|free|lose?|loos|less)\b",
            " without contrast ",
        ),
        (r"\b(without|non?|wo|pre|post?|with|un|bes)(?=[ck]ontrast|enhanc|con\b|inj)", r"\1 "),
        ("бесконтраст[а-я]*", " without contrast "),
        (r"\bct(?=angio|perf)", "ct "),
        (r"\b(?:c|km|mdc|mc|iv|kl|ce|gd|inj)[ /]?-(?=[ )\],]|$)|(?:^| )-(?:c|km|mdc|iv)$", " without contrast "),
        (r"\(-\)", " - "),
        (
            r"\b(?:c|km|mdc|iv|ce|kl|gd|inj|contrast[eo]?|kontrast) ?\+|\+ ?(?:c|km|mdc|iv|kl|gd|inj)\b",
            " with contrast ",
        ),
    )
)
"""Signs and abbreviations as words, in this order."""
_SCRIPTS = _matcher(
    "造影 增强 增強 조영 血管 혈관 灌注 灌流 관류 平扫 平掃 単純 單純 비조영 なし 無し 없이 없음 안함 미사용 前 "
    "전 非 未 无 無 不 비 무"
)
"""Words of scripts without spaces, and so without ends."""
_UNMISTAKABLE = _matcher(
    "контраст перфуз ангио натив σκιαγραφικ αγγειογραφ 造影 增强 灌注 灌流 血管 平扫 単純 조영 혈관 관류"
)
_NO_DISEASE = re.compile("|".join(map(_fold, ("血管[腫瘤]", "혈관종"))))
_TUMOUR = re.compile(r"\b(?:angiom|ангиом)\w*")
_TOKEN = re.compile(r"[^\W\d_]+|4d\b|\d+|[^\w\s]")
_BONE = re.compile(r"bone|knochen|\bossea?\b")
_LOCALIZER = re.compile(
    r"(?<![^\W\d_])(?:scouts?|topo(?:gram\w*)?|lo[ck]ali[sz]er\w*|localizador|surview|scano(?:gram\w*|view)?)(?![^\W\d_])"
)

_FAR = 5
"""So many other words at most stand between `without` and what it denies."""


def decoded(value: bytes) -> str:
    """Decode a text whose charset isn't known: by the words that it holds."""
    value = value.rstrip(b"\0 ")
    if b"\x1b" in value:
        is_korean = b"\x1b$)C" in value
        value = value.replace(b"\x1b$)C", b"")
        return value.decode("euc_kr" if is_korean else "iso2022_jp_2", errors="replace")
    if value.isascii():
        return value.decode()
    for charset in ("utf-8", *_CHARSETS):  # some Chinese of GB 18030 is valid UTF-8
        text = value.decode(charset, errors="replace")
        if _UNMISTAKABLE.search(_fold(text)):
            return text
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


@_remembered
def description_flags(value: bytes | None) -> tuple[str, ...]:
    """Find the words in a Series Description that matter; the text itself is dropped."""
    if not value:
        return ()
    text = _fold(decoded(value))
    flags = _weighed(text)
    flags |= {flag for flag, pattern in (("bone", _BONE), ("localizer", _LOCALIZER)) if pattern.search(text)}
    return tuple(sorted(flags))


@_remembered
def names_contrast(value: bytes | None) -> bool:
    """Say whether Contrast/Bolus Agent names an agent: not where it says none, in any language, or nothing."""
    if not value:
        return False
    text = _fold(decoded(value)).strip(" .-/?\"'()[]*")
    if _NO_AGENT.fullmatch(text):
        return False
    flags = _weighed(text)
    return "plain" not in flags or "contrast" in flags


_NO_AGENT = re.compile(
    r"(?:0+[.,]?0*(?: ?(?:ml|cc|g|mg))?|n|n/?a|nil|null|non?|none? (?:given|used|administered|available|injected)|"
    r"none|nan|false|unk|unknown|unbekannt|inconnu|desconocido|unspecified|undefined|x+|c|unenhanced|native?|plain|"
    r"not (?:given|used|specified|applicable|available|administered)|w[/ ]?o|without|ohne|sin|sans|sem|senza|zonder|"
    r"bez|utan|uden|uten|kein(?:e|es)?|nein|geen|nee|ingen|inget|nej|nei|brak|nie|zadn[ya]|ninguno|nenhum|nao|nessuno|"
    r"aucun|yok|hayir|ei|нет|без|無|なし|无|없음|οχι|anonymi[sz]ed|anonymous|removed|deleted|redacted|de-?identified)?"
)


def _weighed(text: str) -> set[str]:
    """Return which of contrast, angio and perfusion a folded text affirms, and `plain` where it denies one."""
    for pattern, words in _REWRITTEN:
        text = pattern.sub(words, text)
    text = _NO_DISEASE.sub(" ", _TUMOUR.sub(" ", text))
    tokens = _TOKEN.findall(_SCRIPTS.sub(lambda found: f" {found[0]} ", text))
    flags: set[str] = set()
    denied: dict[int, str] = {}  # place of a word -> its topic
    for at, token in enumerate(tokens):
        if _PLAIN.fullmatch(token) or _is_left_open(tokens, at):
            flags.add("plain")
        topic = next((name for name, words in _TOPICS.items() if words.fullmatch(token)), "")
        if not topic and at and _SHORT.fullmatch(token):
            before = tokens[at - 2] if tokens[at - 1] in "-./" and at > 1 else tokens[at - 1]
            is_meant = any(words.fullmatch(before) for words in (_NO, _LONG_NO, _SHORT_YES))
            topic = "contrast" if is_meant else ""
        if not topic:
            continue
        if _is_denied(tokens, at, topic, denied):
            denied[at] = topic
            flags.add("plain")
        else:
            flags.add(topic)
        if not _is_denied_after(tokens, at) and _is_shared(tokens, at):
            flags |= {topic, "plain"}
    return flags


def _is_denied(tokens: list[str], at: int, topic: str, denied: dict[int, str]) -> bool:
    """Say whether a word after, or before, the topic's word denies it."""
    if _is_denied_after(tokens, at):
        return True
    only_fillers = True
    for back in range(at - 1, max(-1, at - 2 - _FAR), -1):
        token = tokens[back]
        if token in {"-", ".", "/", ":"}:
            continue
        if _LONG_NO.fullmatch(token) or (only_fillers and _NO.fullmatch(token)):
            return True
        if back in denied:
            return denied[back] == topic
        if _YES.fullmatch(token) and token not in {"na", "med", "po", "w"}:
            return False
        if _AND.fullmatch(token) or any(words.fullmatch(token) for words in _TOPICS.values()):
            return False
        only_fillers = only_fillers and bool(_FILLER.fullmatch(token))
    return False


def _is_denied_after(tokens: list[str], at: int) -> bool:
    behind = tokens[at + 1 : at + 5]
    after = [token for k, token in enumerate(behind) if token not in _COLONS and (token != "-" or k + 1 == len(behind))]
    if any(_LATER_NO.fullmatch(token) for token in after[:3]):
        return True
    if any(_NEXT_NO.fullmatch(one) and other in _DONE for one, other in itertools.pairwise(after)):
        return True
    return bool(after and _NEXT_NO.fullmatch(after[0]) and (len(after) == 1 or after[1] in {")", ",", ";", "/"}))


def _is_left_open(tokens: list[str], at: int) -> bool:
    """Say whether `without` stands at the end, or before a number, a sign or `and`: contrast is meant."""
    if not _LONG_NO.fullmatch(tokens[at]) or tokens[at] in {"for", "a", "prior", "fore"}:
        return False
    after = tokens[at + 1] if at + 1 < len(tokens) else ""
    return not after or not after[0].isalpha() or bool(_AND.fullmatch(after))


def _is_shared(tokens: list[str], at: int) -> bool:
    """Say whether both `with` and `without`, joined by `and` or a slash, stand before a word: it belongs to both."""
    before = [token for token in tokens[max(0, at - 5) : at] if token == "or" or not _FILLER.fullmatch(token)][-3:]
    if len(before) < 3 or not (before[1] in {"/", "-", "or"} or _AND.fullmatch(before[1])):
        return False
    is_no = [bool(_LONG_NO.fullmatch(token) or _NO.fullmatch(token)) for token in (before[0], before[2])]
    is_yes = [bool(_YES.fullmatch(token)) or token in {"s", "z", "m"} for token in (before[0], before[2])]
    return (is_no[0] and is_yes[1]) or (is_yes[0] and is_no[1])
