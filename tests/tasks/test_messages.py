"""What a chat model is sent, and the same as plain text."""

from __future__ import annotations

from harness.tasks.messages import Message, Preamble, Shot, transcript

SHOT = Shot((Message("user", "2 + 2 ="),), "2 + 2 =", "4")
QUESTION = (Message("user", "3 + 4 ="),)


def test_a_prompt_with_nothing_in_front_of_it_is_one_message_of_the_users() -> None:
    assert Preamble().messages(QUESTION) == ()
    assert Preamble().text("3 + 4 =") == "3 + 4 ="


def test_system_prompt_and_examples_stand_in_front_of_it() -> None:
    before = Preamble("Be brief.", (SHOT,))
    assert before.messages(QUESTION) == (
        Message("system", "Be brief."),
        Message("user", "2 + 2 ="),
        Message("assistant", "4"),
        Message("user", "3 + 4 ="),
    )
    assert before.text("3 + 4 =") == "Be brief.\n\n2 + 2 = 4\n\n3 + 4 ="


def test_a_conversation_as_text_ends_where_the_assistant_is_to_speak() -> None:
    turns = [Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "Bye")]
    assert transcript(turns) == "User: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:"
