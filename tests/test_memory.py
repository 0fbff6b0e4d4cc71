import numpy as np

from tag2mask.memory import peak_mib, restart_peak


def test_peak_remembers_what_is_given_back_until_it_starts_anew():
    restart_peak()
    before = peak_mib()
    block = np.ones(256 * 2**20, np.uint8)

    during = peak_mib()
    del block

    assert during >= before + 128
    # The system counts pages in batches, a thread at a time.
    assert peak_mib() >= during - 16
    restart_peak()
    assert peak_mib() <= during - 128
