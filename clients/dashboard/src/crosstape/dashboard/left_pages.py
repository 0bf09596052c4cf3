"""A page that was left asks for nothing any more.

Streamlit takes a fragment's request in the name of the page that the browser shows. One that comes between a click on
another page and that page's first answer is answered after it, in the name of the page before: the browser then takes
that for a change of page and empties its window, which stays empty. (Streamlit 1.67; it drops requests of fragments
that are gone by itself, but these are still there.)
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession


def drop_their_requests() -> None:
    """Have Streamlit drop every request of a fragment of another page than the one last asked for. Call it once."""
    take = AppSession.request_rerun
    asked: WeakKeyDictionary[AppSession, str] = WeakKeyDictionary()

    def take_of_the_page(session: AppSession, client_state: ClientState | None) -> None:
        if client_state is not None and client_state.fragment_id:
            # A window that was just opened asks for a page by its name, without a hash.
            if asked.get(session, "") not in ("", client_state.page_script_hash):
                return
        elif client_state is not None:
            asked[session] = client_state.page_script_hash
        take(session, client_state)

    AppSession.request_rerun = take_of_the_page  # type: ignore[assignment, method-assign]
