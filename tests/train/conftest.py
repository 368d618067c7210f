"""What tests of training share: a project with rows that may be learned."""

from tests.teach.conftest import taught  # noqa: F401  the fixture
