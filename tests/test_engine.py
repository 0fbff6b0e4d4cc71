from types import SimpleNamespace

from tag2mask.engine import share_of


def test_processes_share_what_waits_after_all_have_looked():
    met = []
    fabrics = [SimpleNamespace(global_rank=rank, world_size=3, barrier=lambda: met.append(1)) for rank in range(3)]

    shares = [share_of(fabric, list("abcdefg")) for fabric in fabrics]

    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert len(met) == 3
