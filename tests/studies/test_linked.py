"""Linked things form groups that don't depend on the order of the links."""

from hypothesis import given
from hypothesis import strategies as st

from ich25d.studies.linked import Linked

pairs = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=15)


@given(links=pairs, shuffle=st.randoms())
def test_a_group_is_known_by_its_smallest_member(links, shuffle):
    """As by the plain way: colour both ends alike until nothing changes."""
    colour = list(range(13))
    for _ in range(13):
        for one, other in links:
            colour[one] = colour[other] = min(colour[one], colour[other])
    shuffle.shuffle(links)
    linked = Linked()
    for one, other in links:
        linked.link(one, other)
    assert [linked.first(item) for item in range(13)] == colour
    joined = {item for pair in links if pair[0] != pair[1] for item in pair}
    assert linked.members() == {item: colour[item] for item in joined}
