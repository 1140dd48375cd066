"use strict";
const form = document.getElementById("login");
const message = document.getElementById("message");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  message.className = "message";
  message.textContent = "";
  const said = { user: form.user.value, password: form.password.value };
  try {
    const answer = await fetch("/api/web/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ target: "login", action: "login", data: said }),
    });
    const told = await answer.json();
    if (told.retcode === 0) {
      window.location.assign("/");
      return;
    }
    message.textContent = told.message;
  } catch {
    message.textContent = "The device does not answer.";
  }
  message.className = "message bad";
  form.password.value = "";
  form.password.focus();
});
