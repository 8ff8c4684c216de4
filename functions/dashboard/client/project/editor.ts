import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { css } from "@codemirror/lang-css";
import { html } from "@codemirror/lang-html";
import { javascript } from "@codemirror/lang-javascript";
import { json } from "@codemirror/lang-json";
import { markdown } from "@codemirror/lang-markdown";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorSelection, EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

export interface OpenFile {
  path: string;
  text: string;
  onChange: (text: string) => void;
  onSave: () => void;
}

export interface Editor {
  set(text: string): void;
  /** From 1. */
  goTo(line: number): void;
  close(): void;
}

const look = EditorView.theme({
  "&": { height: "100%", backgroundColor: "var(--panel)", color: "var(--text)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", fontSize: "13.5px" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--ground)", color: "var(--soft)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": {
    backgroundColor: "color-mix(in srgb, var(--accent) 8%, transparent)",
  },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--accent) 30%, transparent)",
  },
  ".cm-panels": { backgroundColor: "var(--ground)", color: "var(--text)" },
  ".cm-specialChar": { color: "var(--bad)" },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "light-dark(#8250df, #c9a0ff)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "light-dark(#0a6640, #7fd6a2)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "light-dark(#0550ae, #8ec2ff)" },
  { tag: [tags.comment, tags.meta], color: "var(--soft)" },
  { tag: [tags.tagName, tags.heading], color: "light-dark(#116329, #7ee2a0)", fontWeight: "600" },
  { tag: [tags.attributeName, tags.propertyName], color: "light-dark(#0550ae, #8ec2ff)" },
  { tag: [tags.typeName, tags.className], color: "light-dark(#953800, #ffb77a)" },
  { tag: tags.link, textDecoration: "underline" },
]);

/**
 * Opens an editor in a shadow root: CodeMirror styles it by sheets of its own there, where in a document it would write
 * `<style>`, which our CSP refuses.
 */
export function openEditor(host: HTMLElement, { path, text, onChange, onSave }: OpenFile): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  root.replaceChildren();
  const save = (): boolean => {
    onSave();
    return true;
  };
  let isOurs = false;
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        highlightActiveLine(),
        highlightSpecialChars(),
        highlightSelectionMatches(),
        search({ top: true }),
        syntaxHighlighting(colours),
        look,
        languageOf(path),
        EditorView.contentAttributes.of({ "aria-label": `Contents of ${path}` }),
        EditorState.allowMultipleSelections.of(true),
        // Tab indents; Escape and then Tab leaves.
        keymap.of([
          { key: "Mod-s", run: save, preventDefault: true },
          ...searchKeymap,
          ...historyKeymap,
          ...defaultKeymap,
          indentWithTab,
        ]),
        EditorView.updateListener.of(({ docChanged, state }) => {
          if (docChanged && !isOurs) onChange(state.doc.toString());
        }),
      ],
    }),
  });
  return {
    set(next) {
      isOurs = true;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } });
      isOurs = false;
    },
    goTo(line) {
      const { doc } = view.state;
      const { from } = doc.line(Math.min(Math.max(1, line), doc.lines));
      view.dispatch({
        selection: EditorSelection.cursor(from),
        effects: EditorView.scrollIntoView(from, { y: "center" }),
      });
      view.focus();
    },
    close: () => view.destroy(),
  };
}

function languageOf(path: string): Extension {
  const ending = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
  switch (ending) {
    case "js":
    case "mjs":
    case "cjs":
    case "jsx":
      return javascript({ jsx: true });
    case "ts":
    case "mts":
    case "tsx":
      return javascript({ jsx: ending === "tsx", typescript: true });
    case "html":
    case "htm":
    case "astro":
    case "vue":
    case "svelte":
    case "svg":
      return html();
    case "css":
    case "scss":
      return css();
    case "json":
      return json();
    case "md":
    case "mdx":
      return markdown();
    default:
      return [];
  }
}
