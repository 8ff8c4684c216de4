import { useState } from "hono/jsx/dom";

/** Like useState for what somebody types: it outlives a reload, a lost connection and an ended sign-in in this tab. */
export function useDraft(name: string, initial = ""): [string, (value: string) => void] {
  const key = `signalbox-draft:${name}`;
  const [state, setState] = useState({ key, value: sessionStorage.getItem(key) ?? initial });
  const value = state.key === key ? state.value : (sessionStorage.getItem(key) ?? initial);
  const set = (next: string): void => {
    if (next === initial) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, next);
    setState({ key, value: next });
  };
  return [value, set];
}
