import pytest

from tag2mask.data.sampling import EpochBatches

Place = tuple[int, int]


def batches(epoch: int = 0, *, num: int = 10, seed: int = 3, rank: int = 0, world: int = 1) -> list[list[Place]]:
    """Those of four photos that a process sees in an epoch."""
    sampler = EpochBatches(num, 4, seed=seed, rank=rank, world_size=world)
    sampler.epoch = epoch
    return list(sampler)


def indices(drawn: list[list[Place]]) -> list[int]:
    return [index for batch in drawn for _, index in batch]


def test_every_batch_is_full_and_no_photo_comes_twice_in_an_epoch():
    drawn = batches()

    assert [len(batch) for batch in drawn] == [4, 4]
    assert len(set(indices(drawn))) == 8
    assert set(indices(drawn)) <= set(range(10))
    assert len(EpochBatches(10, 4, seed=0, rank=0, world_size=1)) == 2


def test_photos_carry_the_epoch():
    assert {epoch for batch in batches(5) for epoch, _ in batch} == {5}


def test_order_is_a_function_of_seed_and_epoch():
    assert batches(1) == batches(1)
    assert indices(batches(1)) != indices(batches(2))
    assert indices(batches(1)) != indices(batches(1, seed=4))


def test_photos_of_the_last_incomplete_batch_get_their_turn():
    seen = {index for epoch in range(20) for index in indices(batches(epoch))}

    assert seen == set(range(10))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_that_one_would_see(world: int):
    alone = batches(2)

    shares = [batches(2, rank=rank, world=world) for rank in range(world)]

    for step, batch in enumerate(alone):
        together = [place for share in shares for place in share[step]]
        assert sorted(together) == sorted(batch)
        assert {len(share[step]) for share in shares} == {4 // world}


def test_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch size 4 cannot be shared by 3 processes: make it a multiple"):
        batches(world=3)


def test_fewer_photos_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="3 photos to train on, but a batch takes 4: lower the batch size"):
        batches(num=3)
