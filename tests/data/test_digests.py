import os
from pathlib import Path

from tag2mask.data.digests import digest_file


def test_digest_of_a_file_changes_with_a_byte_of_it(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo")
    before = digest_file(path)

    path.write_bytes(b"phot0")
    os.utime(path, ns=(0, 1))

    assert digest_file(path) != before
    path.write_bytes(b"photo")
    assert digest_file(path) == before
