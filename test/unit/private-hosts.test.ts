import { expect, test } from "vitest";
import { isPrivateHost } from "../../functions/providers/private-hosts.ts";

/** As an operator could spell them; the URL parser is what makes one of many. */
const refused = [
  "localhost",
  "LOCALHOST",
  "api.localhost",
  "printer.local",
  "service.railway.internal",
  "router",
  "127.0.0.1",
  "127.1",
  "2130706433",
  "0x7f000001",
  "0177.0.0.1",
  "0.0.0.0",
  "10.0.0.1",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "198.18.0.1",
  "224.0.0.1",
  "255.255.255.255",
  "[::1]",
  "[::]",
  "[::ffff:127.0.0.1]",
  "[::ffff:7f00:1]",
  "[::127.0.0.1]",
  "[64:ff9b::10.0.0.1]",
  "[2002:7f00:1::]",
  "[fe80::1]",
  "[fec0::1]",
  "[fc00::1]",
  "[fd12:3456::1]",
  "[ff02::1]",
  "[2001:db8::1]",
  "127.0.0.1.",
  "localhost.",
  "①②⑦.0.0.1",
];
test.each(refused)("%s is private", (host) => {
  expect(isPrivateHost(new URL(`http://${host}/`).hostname)).toBe(true);
});

const allowed = [
  "example.com",
  "backend.up.railway.app",
  "8.8.8.8",
  "172.15.0.1",
  "172.32.0.1",
  "100.128.0.1",
  "11.0.0.1",
  "[2606:4700::1111]",
  "[::ffff:8.8.8.8]",
  "localhost.example.com",
  "internal.example.com",
];
test.each(allowed)("%s is public", (host) => {
  expect(isPrivateHost(new URL(`http://${host}/`).hostname)).toBe(false);
});
