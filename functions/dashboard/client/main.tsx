import { render } from "hono/jsx/dom";
import "./style.css";
import { Shell } from "./shell.tsx";
import { onSignedOut, signInKey, takeKey } from "./sign-in.ts";
import { setTheme, theme } from "./theme.ts";

const form = document.querySelector<HTMLElement>("main.sign-in");
const place = document.querySelector<HTMLElement>("#dashboard");

function showForm(): void {
  // Nothing of the last operator's stays in sight.
  if (place !== null) render(null, place);
  if (form !== null) form.hidden = false;
  document.querySelector<HTMLInputElement>("#token")?.focus();
}

setTheme(theme());
onSignedOut(showForm);
// Another tab signed out.
addEventListener("storage", () => {
  if (signInKey() === null) location.reload();
});
if (!takeKey()) {
  if (signInKey() === null) showForm();
  else if (form?.hidden !== false && place !== null) render(<Shell />, place);
}
