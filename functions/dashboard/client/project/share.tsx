import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { call } from "../api.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Copy } from "../parts/copy.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Field } from "../parts/field.tsx";
import { Until } from "../parts/since.tsx";
import { projectPath, type PreviewLink, type ProjectDetails } from "./api.ts";

const TIMES = [
  ["3600", "1 hour"],
  ["43200", "12 hours"],
  ["86400", "1 day"],
  ["604800", "7 days"],
  ["2592000", "30 days"],
] as const;

/** Who sees the preview: a link for a time, everybody, or nobody any more. */
export function Share({
  project: { slug, public: isPublic, previewUrl },
  onRevoked,
}: {
  project: ProjectDetails;
  onRevoked: () => Promise<void>;
}): JSX.Element {
  const [open, setOpen] = useState(false);
  const [seconds, setSeconds] = useState("43200");
  const [once, setOnce] = useState(false);
  const [link, setLink] = useState<PreviewLink | null>(null);
  const make = async (): Promise<void> => {
    setLink(
      await call<PreviewLink>("POST", projectPath(slug, "preview"), { seconds: Number(seconds), once }),
    );
  };
  const revoke = async (): Promise<void> => {
    await call("DELETE", projectPath(slug, "preview"));
    setLink(null);
    await onRevoked();
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Share
      </button>
      {open && (
        <Dialog title="Share the preview" onClose={() => setOpen(false)}>
          {isPublic && previewUrl !== null ? (
            <>
              <p>Everybody who knows this address sees it:</p>
              <Copy text={previewUrl} />
            </>
          ) : (
            <>
              <Field label="The link opens it for" value={seconds} onInput={setSeconds} options={TIMES} />
              <label class="check">
                <input
                  type="checkbox"
                  checked={once}
                  onChange={(event: Event) => setOnce((event.target as HTMLInputElement).checked)}
                />{" "}
                for the first who comes by it, and nobody else
              </label>
              <Button kind="main" act={make}>
                Make a link
              </Button>
              {link !== null && (
                <>
                  <Copy text={link.url} />
                  <p class="quiet">
                    Whoever has it gets in. It ends in <Until at={link.expiresAt} />.
                  </p>
                </>
              )}
            </>
          )}
          <div class="row end">
            <Confirm
              label={isPublic ? "Make it private" : "Make it public"}
              title={isPublic ? "Make the preview private?" : "Make the preview public?"}
              says={
                isPublic
                  ? "Only who has a link sees it from then on."
                  : "Everybody who knows its address sees it, without a link."
              }
              act={() => call("PATCH", projectPath(slug), { public: !isPublic })}
            />
            <Confirm
              label="Revoke all links"
              title="Revoke all links?"
              says="Every link ends, and every visit that began with one, within 5 seconds."
              kind="danger"
              act={revoke}
            />
          </div>
        </Dialog>
      )}
    </>
  );
}
