import "./style.css";

document.querySelector("#app").innerHTML = `
  <h1>A page as Vite makes it</h1>
  <button id="more" type="button">More</button>
  <p id="details"></p>
`;

document.querySelector("#more").addEventListener("click", () => void showDetails());

async function showDetails() {
  // Vite gives this module a file of its own, whose name holds its hash: another version has another name for it.
  const { details } = await import("./details.js");
  document.querySelector("#details").textContent = details;
}
