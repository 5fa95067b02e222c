"""The embedded default without its weights: a scripted model, and experts that find what they are told to."""

import numpy as np
from scripted import Scripted, Truthful

from attending.experts import Finding, Record, embedded
from attending.experts.fit import digest, fit
from attending.experts.segment import tell
from attending.imaging import Volume


def boxed(card, study):
    """A liver with a lesion: two boxes on the study's grid."""
    series = fit(card, study)[0][0]
    labels = np.zeros(series.volume.array.shape, np.uint8)
    labels[90:130, 60:110, 30:60] = 1
    labels[96:109, 86:99, 44:52] = 8
    volume = Volume(labels, series.volume.affine)
    return tell(
        volume, {1: "liver", 8: "liver lesion"}, series, Record("", inputs={series.id: digest(series)}), [], (8,)
    )


def scored(card, study):
    series = fit(card, study)[0][0]
    return Finding("done", "probabilities", Record("", inputs={series.id: digest(series)}), scores={"Effusion": 0.91})


def stand_in(monkeypatch, *replies):
    """Make `attending.load()` give a model that says these texts, and its experts; returns model and experts."""
    cards = {expert.card.name: expert.card for expert in embedded()}
    experts = {"TORSO": Truthful(cards["TORSO"], boxed), "CHEST": Truthful(cards["CHEST"], scored)}
    model = Scripted(*replies)
    for place in ("attending.experts", "attending.experts.registry"):
        monkeypatch.setattr(f"{place}.embedded", lambda: list(experts.values()))
    monkeypatch.setattr("attending.model.embedded.embedded_model", lambda: "embedded")
    monkeypatch.setattr("attending.model.load_backend", lambda where, *_: model if where == "embedded" else None)
    return model, experts
