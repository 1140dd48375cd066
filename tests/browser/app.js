// A resident's app as a web page: an account of the gateway over WSS, one call at a time. The tests drive it through `window.app`.
// Its settings outlive a reload, as does its instance-id (RFC 5626 4.1: it must), without which each reload would be one more phone.

import JsSIP from "jssip";

const KEPT = "settings";
const MEDIA = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };

class App {
  constructor() {
    this.events = []; // [name, details], oldest first
    this.told = () => {};
    this.call = null;
    this.sdp = {}; // of the last call: "local offer", "remote answer", ... -> text
  }

  // Settings: {url, account, password, domain}.
  start(settings) {
    settings.instance ||= crypto.randomUUID();
    sessionStorage.setItem(KEPT, JSON.stringify(settings));
    const agent = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(settings.url)],
      uri: `sip:${settings.account}@${settings.domain}`,
      password: settings.password,
      instance_id: settings.instance,
      register_expires: 300,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 2,
    });
    agent.on("connected", () => this.happened("connected"));
    agent.on("disconnected", (event) => this.happened("disconnected", { error: event.error, code: event.code }));
    agent.on("registered", (event) => this.happened("registered", { contact: event.response.getHeader("Contact") }));
    agent.on("unregistered", () => this.happened("unregistered"));
    agent.on("registrationFailed", (event) => this.happened("registrationFailed", { cause: event.cause }));
    agent.on("newRTCSession", (event) => this.began(event.session, event.originator, event.request));
    this.agent = agent;
    agent.start();
  }

  stop() {
    sessionStorage.removeItem(KEPT);
    this.agent.stop();
  }

  began(call, originator, request) {
    this.call = call;
    this.sdp = {};
    call.on("sdp", (event) => (this.sdp[`${event.originator} ${event.type}`] = event.sdp));
    for (const name of ["progress", "accepted", "confirmed"]) {
      call.on(name, (event) => this.happened(name, { originator: event.originator }));
    }
    for (const name of ["ended", "failed"]) {
      call.on(name, (event) =>
        this.happened(name, {
          originator: event.originator,
          cause: event.cause,
          reason: event.message?.getHeader?.("Reason") ?? null,
        }),
      );
    }
    call.on("newDTMF", (event) => this.happened("tone", { originator: event.originator, tone: event.dtmf.tone }));
    if (originator === "remote") {
      call.on("peerconnection", () => this.listen());
      this.happened("rings", { caller: request.from.uri.user, dialled: request.to.uri.user });
    } else {
      this.listen();
    }
  }

  // Play what the other side says.
  listen() {
    this.call.connection.addEventListener("track", (event) => {
      document.getElementById("other-side").srcObject = new MediaStream([event.track]);
    });
  }

  dial(number) {
    this.agent.call(number, MEDIA);
  }

  answer() {
    this.call.answer(MEDIA);
  }

  hangUp() {
    this.call.terminate();
  }

  press(key) {
    this.call.sendDTMF(key);
  }

  // What the browser itself says of the media of the call: packets that have come, how loud they are, how they are encrypted.
  async media() {
    const found = { packets: 0, energy: 0, dtls: "" };
    for (const one of (await this.call.connection.getStats()).values()) {
      if (one.type === "inbound-rtp") {
        found.packets += one.packetsReceived;
        found.energy += one.totalAudioEnergy;
      } else if (one.type === "transport") {
        found.dtls = one.dtlsState;
      }
    }
    return found;
  }

  happened(name, details = {}) {
    this.events.push([name, details]);
    this.told();
  }

  // The details of the first event of this name from number `from` on, and the number of the one after it; waits for it.
  async next(name, from) {
    for (;;) {
      const at = this.events.findIndex((event, index) => index >= from && event[0] === name);
      if (at >= 0) return [this.events[at][1], at + 1];
      await new Promise((resolve) => (this.told = resolve));
    }
  }
}

window.JsSIP = JsSIP;
window.app = new App();
const kept = sessionStorage.getItem(KEPT);
if (kept) window.app.start(JSON.parse(kept));
