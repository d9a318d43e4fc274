"""What ocfl-py, the reference implementation, says of an archive.

It asks for clients of S3 and of Pairtree, which nothing here uses and which do not install beside
our pins; two empty modules stand in for them. It is installed without its dependencies.
"""

import sys
from pathlib import Path
from types import ModuleType

import pytest

for name, attributes in (("s3fs", ("S3FileSystem",)), ("pairtree", ("id_encode", "id_decode"))):
    if name not in sys.modules:
        stand_in = ModuleType(name)
        for attribute in attributes:
            setattr(stand_in, attribute, type(attribute, (), {}))
        sys.modules[name] = stand_in

ocfl = pytest.importorskip("ocfl", reason="pip install --no-deps ocfl-py==2.1.0")


def complaints(archive: Path) -> list[str]:
    """Errors and warnings about the storage root and every object in it; empty: it is valid."""
    from ocfl.storage_root import StorageRoot
    from ocfl.validation_logger import ValidationLogger
    from ocfl.validator import Validator

    root = StorageRoot(root=str(archive))
    found = [] if root.validate(log_warnings=True) else ["the storage root is not valid"]
    found += [str(line) for line in root.log.messages] + [str(error) for error in root.errors]
    if root.num_objects != len(list(archive.glob("*/0=ocfl_object_*"))):
        found.append(f"{root.num_objects} objects were found")
    for mark in sorted(archive.glob("*/0=ocfl_object_*")):
        validator = Validator(log=ValidationLogger(log_warnings=True, log_errors=True))
        validator.validate_object(str(mark.parent))
        found += [str(line) for line in validator.log.messages]
    return found
