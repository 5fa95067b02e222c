"""The vision-language model: VILA-M3 for Transformers, checkpoint import, sessions and back ends.

Importing this registers VILA-M3 with the Auto classes of Transformers.
"""

from attending.errors import NotAvailableError

try:
    import torch  # noqa: F401
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )
except ImportError as error:
    raise NotAvailableError(f"the model needs {error.name}: pip install 'attending[model]'") from error

from attending.model.backends import Backend, Speaker, load_backend
from attending.model.batch import answer_together
from attending.model.config import VilaM3Config
from attending.model.decoding import Choices, Constraint, Delta, Sampling
from attending.model.image_processing import VilaM3ImageProcessor
from attending.model.importing import import_checkpoint
from attending.model.local import LocalModel, Session
from attending.model.modeling import VilaM3ForConditionalGeneration, VilaM3Model
from attending.model.processing import VilaM3Processor
from attending.model.remote import RemoteModel
from attending.model.tokenization import VilaM3Tokenizer

__all__ = [
    "Backend",
    "Choices",
    "Constraint",
    "Delta",
    "LocalModel",
    "RemoteModel",
    "Sampling",
    "Session",
    "Speaker",
    "VilaM3Config",
    "VilaM3ForConditionalGeneration",
    "VilaM3ImageProcessor",
    "VilaM3Model",
    "VilaM3Processor",
    "VilaM3Tokenizer",
    "answer_together",
    "import_checkpoint",
    "load_backend",
    "register",
]


def register() -> None:
    """Make the Auto classes of Transformers know VILA-M3; also what vLLM's plug-in loader calls in each worker."""
    AutoConfig.register("vila_m3", VilaM3Config, exist_ok=True)
    AutoModel.register(VilaM3Config, VilaM3Model, exist_ok=True)
    AutoModelForImageTextToText.register(VilaM3Config, VilaM3ForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(VilaM3Config, VilaM3Processor, exist_ok=True)
    AutoImageProcessor.register(VilaM3Config, image_processor_classes={"pil": VilaM3ImageProcessor}, exist_ok=True)
    AutoTokenizer.register(VilaM3Config, tokenizer_class=VilaM3Tokenizer, exist_ok=True)


register()
