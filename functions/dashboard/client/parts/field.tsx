import { useId } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";

export interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: string;
  error?: string | undefined;
  type?: "text" | "password" | "number" | "url" | "search";
  /** Several lines. */
  rows?: number;
  /** A choice of these; `[value, label]`. */
  options?: readonly (readonly [string, string])[];
  placeholder?: string;
  required?: boolean;
}

export function Field({
  label,
  value,
  onInput,
  hint,
  error,
  type = "text",
  ...rest
}: FieldProps): JSX.Element {
  const id = useId();
  const described = [hint === undefined ? "" : `${id}-hint`, error === undefined ? "" : `${id}-error`]
    .filter((part) => part !== "")
    .join(" ");
  const common = {
    id,
    required: rest.required ?? false,
    placeholder: rest.placeholder,
    "aria-describedby": described === "" ? undefined : described,
    "aria-invalid": error === undefined ? undefined : ("true" as const),
    onInput: (event: Event) => onInput((event.target as HTMLInputElement).value),
  };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {rest.options !== undefined ? (
        <select {...common} value={value}>
          {rest.options.map(([option, text]) => (
            <option value={option} selected={option === value}>
              {text}
            </option>
          ))}
        </select>
      ) : rest.rows !== undefined ? (
        <textarea {...common} rows={rest.rows} value={value} spellcheck={false}></textarea>
      ) : (
        <input {...common} type={type} value={value} autocomplete="off" spellcheck={false} />
      )}
      {hint !== undefined && (
        <small class="quiet" id={`${id}-hint`}>
          {hint}
        </small>
      )}
      {error !== undefined && (
        <small class="bad" id={`${id}-error`}>
          {error}
        </small>
      )}
    </div>
  );
}
