"use strict";
const POLL_MILLISECONDS = 3000;
const byId = (id) => document.getElementById(id);
const show = (id, text) => { byId(id).textContent = text; };

function openTab() {
  const here = window.location.hash.slice(1) || "status";
  for (const tab of document.querySelectorAll("section")) tab.classList.toggle("here", tab.id === here);
  for (const link of document.querySelectorAll("nav a")) link.classList.toggle("here", link.hash === `#${here}`);
}

function since(seconds) {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return `${hours} h ${minutes} min ${Math.floor(seconds % 60)} s`;
}

function showRelays(relays) {
  const body = document.querySelector("#relays tbody");
  body.replaceChildren(...relays.map((relay) => {
    const row = document.createElement("tr");
    for (const text of [relay.num, relay.name, `${relay.hold} s`]) row.insertCell().textContent = text;
    const lamp = document.createElement("span");
    lamp.className = relay.open ? "lamp on" : "lamp";
    lamp.textContent = relay.open ? "Open" : "Closed";
    row.insertCell().append(lamp);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Trigger";
    button.dataset.relay = relay.num;
    button.addEventListener("click", () => trigger(relay.num));
    row.insertCell().append(button);
    return row;
  }));
}

function showCalls(calls) {
  byId("calls").replaceChildren(...(calls.length ? calls : ["No calls yet"]).map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

function showStatus(data) {
  for (const place of document.querySelectorAll("[data-field]")) {
    const value = data[place.dataset.field];
    place.textContent = place.dataset.field === "uptime" ? since(value) : value || "-";
  }
  show("device-name", data.name);
  show("model", data.model);
  document.title = data.name;
  if (document.activeElement !== byId("name")) byId("name").value = data.name;
  const lamp = byId("registered");
  lamp.textContent = data.registered ? "Registered" : "Not registered";
  lamp.className = data.registered ? "lamp on" : "lamp off";
  showRelays(data.relays);
  showCalls(data.calls);
}

async function call(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    window.location.assign("/login.html");
    throw new Error("logged out");
  }
  return answer.json();
}

async function poll() {
  try {
    showStatus((await call("/api/web/status")).data);
    byId("live").className = "live";
    show("live", "live");
  } catch {
    byId("live").className = "live lost";
    show("live", "no connection");
  }
  window.setTimeout(poll, POLL_MILLISECONDS);
}

async function trigger(num) {
  const told = await call("api/web/relay/trig", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ target: "relay", action: "trig", data: { num } }),
  });
  byId("relay-message").className = told.retcode === 0 ? "message good" : "message bad";
  show("relay-message", told.retcode === 0 ? `Relay ${num} triggered.` : told.message);
  showStatus((await call("/api/web/status")).data);
}

byId("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  show("upload-message", "Uploading...");
  const told = await call("/api/web/upload", { method: "POST", body: new FormData(byId("upload")) });
  byId("upload-message").className = told.retcode === 0 ? "message good" : "message bad";
  show("upload-message", told.retcode === 0 ? `Received ${told.data.size} bytes, SHA-256 ${told.data.sha256}` : told.message);
});

byId("logout").addEventListener("click", async () => {
  await call("/api/web/logout", { method: "POST" });
  window.location.assign("/login.html");
});

window.addEventListener("hashchange", openTab);
openTab();
poll();
