import { CONTROL_TOKEN, OPERATOR_NAME, type PublicAnswer, type TestStack } from "./stack.ts";

/** What a signed-in browser has. */
export interface Operator {
  /** `name=value`. */
  cookie: string;
  key: string;
}

const FORM = "application/x-www-form-urlencoded";

export function operatorAuthority(stack: TestStack): string {
  return `${OPERATOR_NAME}:${stack.port}`;
}

/** Posts the sign-in as the dashboard's form does; `headers` change what a browser would send. */
export function postSignIn(
  stack: TestStack,
  headers: Record<string, string> = {},
  token = CONTROL_TOKEN,
  authority = operatorAuthority(stack),
): Promise<PublicAnswer> {
  return stack.request(authority, "/_signalbox/sign-in", {
    method: "POST",
    headers: { origin: `http://${authority}`, "content-type": FORM, ...headers },
    body: `token=${encodeURIComponent(token)}`,
  });
}

export async function signIn(stack: TestStack, authority = operatorAuthority(stack)): Promise<Operator> {
  return signInOf(await postSignIn(stack, {}, CONTROL_TOKEN, authority));
}

export function signInOf(answer: PublicAnswer): Operator {
  const key = /<meta name="signalbox-sign-in-key" content="([\w-]{43})"/.exec(answer.text)?.[1];
  const cookie = [answer.headers["set-cookie"] ?? []].flat()[0]?.split(";", 1)[0];
  if (key === undefined || cookie === undefined)
    throw new Error(`No sign-in: ${answer.status} ${answer.text}`);
  return { cookie, key };
}

/** Reads what only a sign-in shows, as the dashboard's script does. */
export function readAsOperator(
  stack: TestStack,
  { cookie, key }: Partial<Operator>,
  headers: Record<string, string> = {},
  authority = operatorAuthority(stack),
): Promise<PublicAnswer> {
  return stack.request(authority, "/_signalbox/api/v1/apps", {
    headers: { ...carry(cookie, key), ...headers },
  });
}

export function postSignOut(
  stack: TestStack,
  { cookie, key }: Partial<Operator>,
  headers: Record<string, string> = {},
): Promise<PublicAnswer> {
  const authority = operatorAuthority(stack);
  return stack.request(authority, "/_signalbox/sign-out", {
    method: "POST",
    headers: { origin: `http://${authority}`, ...carry(cookie, key), ...headers },
  });
}

function carry(cookie: string | undefined, key: string | undefined): Record<string, string> {
  return {
    ...(cookie === undefined ? {} : { cookie }),
    ...(key === undefined ? {} : { "x-signalbox-key": key }),
  };
}
