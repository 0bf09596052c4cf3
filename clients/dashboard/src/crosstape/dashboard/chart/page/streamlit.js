// The three messages that a Streamlit component exchanges with the page it is in.
"use strict";

const Streamlit = {
  send(type, data) {
    window.parent.postMessage({ isStreamlitMessage: true, type, ...data }, "*");
  },
  start(render) {
    window.addEventListener("message", (event) => {
      if (event.source === window.parent && event.data.type === "streamlit:render") render(event.data);
    });
    this.send("streamlit:componentReady", { apiVersion: 1 });
  },
  setHeight(height) {
    this.send("streamlit:setFrameHeight", { height });
  },
  setValue(value) {
    this.send("streamlit:setComponentValue", { value, dataType: "json" });
  },
};
