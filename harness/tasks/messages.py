"""What a chat model is sent for a row, and how the same reads as plain text for a model without chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Shot:
    """An example: a row's conversation up to the question, the question as plain text, and the right answer."""

    messages: tuple[Message, ...]
    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class Preamble:
    """What stands in front of every row of a task, the same for every model: the system prompt and the examples."""

    system: str | None = None
    shots: tuple[Shot, ...] = ()

    def text(self, prompt: str) -> str:
        """Return a row's plain text with this in front of it, the parts separated by a blank line."""
        system = [self.system] if self.system else []
        return "\n\n".join([*system, *(as_text(shot.prompt, shot.target) for shot in self.shots), prompt])

    def messages(self, turns: Sequence[Message]) -> tuple[Message, ...]:
        """Return a row's messages with this in front of them; none where one user message says it all."""
        system = [Message("system", self.system)] if self.system else []
        shots = [message for shot in self.shots for message in (*shot.messages, Message("assistant", shot.target))]
        found = (*system, *shots, *turns)
        return found if len(found) > 1 else ()


def as_continuation(prompt: str, answer: str) -> str:
    """Return an answer as it follows a prompt: behind a space, unless the prompt ends with white space.

    Evaluation sends the prompt alone and strips what comes back, so the space is the model's to write.
    """
    return answer if prompt[-1:].isspace() else " " + answer


def as_chat(prompt: str, messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return messages in the form of chat servers and chat templates; without any, the prompt as a user's message."""
    return [asdict(message) for message in messages or (Message("user", prompt),)]


def as_text(prompt: str, answer: str) -> str:
    """Return a prompt with its answer."""
    return prompt + as_continuation(prompt, answer)


def only_text(content: Any) -> str | None:
    """Return the text of a message that a model was sent: a text, or parts of nothing else; None of any other."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None


def plain(messages: Sequence[Message]) -> str:
    """Return a conversation as plain text, as a task with this system prompt and these messages is asked it."""
    system = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    asked = turns[0].content if [turn.role for turn in turns] == ["user"] else transcript(turns)
    return "\n\n".join([*system, asked])


def transcript(turns: Sequence[Message]) -> str:
    """Return a conversation as plain text, up to the place where the assistant is to speak."""
    return "".join(f"{turn.role.capitalize()}: {turn.content}\n\n" for turn in turns) + "Assistant:"
