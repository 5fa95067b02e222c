"""readers: one module for each published format; `READERS` finds them by name."""

from attending.corpora.readers import (
    brats,
    chest_xray14,
    chexpert,
    decathlon,
    experts,
    llava,
    medical_diff_vqa,
    medqa,
    mimic_cxr,
    nano,
    path_vqa,
    phantoms,
    slake,
    table,
    vqa_rad,
)
from attending.corpora.readers.reader import Reader

_ALL = (
    vqa_rad.READER,
    slake.READER,
    path_vqa.READER,
    medical_diff_vqa.READER,
    mimic_cxr.READER,
    chest_xray14.READER,
    chexpert.READER,
    medqa.READER,
    decathlon.READER,
    brats.READER,
    llava.READER,
    table.READER,
    phantoms.READER,
    phantoms.FOLDER,
    experts.VOLUMES,
    experts.PHANTOMS,
    nano.READER,
    experts.RADIOGRAPHS,
)
READERS: dict[str, Reader] = {reader.name: reader for reader in _ALL}
