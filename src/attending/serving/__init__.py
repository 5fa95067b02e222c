"""serving: `consult` over HTTP, in the form that clients of OpenAI's chat completions speak."""

from attending.errors import NotAvailableError

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise NotAvailableError(f"serving needs {error.name}: pip install 'attending[serve]'") from error

from attending.serving.app import application
from attending.serving.server import listen, server
from attending.serving.settings import Settings

__all__ = ["Settings", "application", "listen", "server"]
