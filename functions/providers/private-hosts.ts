/**
 * Whether a host as the URL parser leaves it (IPv4 in dotted form, IPv6 in brackets) is one that only this machine
 * or its network can mean. Names are judged as written: what they resolve to is the platform's guard.
 */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/\.+$/, "");
  if (host.startsWith("[")) return isPrivateIPv6(host.slice(1, -1));
  const octets = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (octets) return isPrivateIPv4(octets.slice(1).map(Number));
  return (
    !host.includes(".") ||
    /(?:^|\.)(?:localhost|local|internal|intranet|lan|home|corp|localdomain|arpa)$/.test(host)
  );
}

/** Source: the IANA registry of special-purpose IPv4 addresses. */
function isPrivateIPv4([a = 0, b = 0, c = 0]: number[]): boolean {
  return (
    a === 0 ||
    a === 10 ||
    a === 127 ||
    a >= 224 ||
    (a === 100 && b >= 64 && b <= 127) ||
    (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b <= 31) ||
    (a === 192 && b === 168) ||
    (a === 192 && b === 0 && (c === 0 || c === 2)) ||
    (a === 192 && b === 88 && c === 99) ||
    (a === 198 && (b === 18 || b === 19)) ||
    (a === 198 && b === 51 && c === 100) ||
    (a === 203 && b === 0 && c === 113)
  );
}

/**
 * Only global unicast (2000::/3) is public, and not all of it. Source: the IANA registry of special-purpose IPv6
 * addresses; addresses that wrap IPv4 are judged by it.
 */
function isPrivateIPv6(address: string): boolean {
  const groups = expand(address);
  const [first = 0, second = 0, ...rest] = groups;
  const isNat64 = first === 0x64 && second === 0xff9b && rest.slice(0, 4).every((group) => group === 0);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isNat64 || isMapped) return isPrivateIPv4(octets(groups[6], groups[7]));
  if (first === 0x2002) return isPrivateIPv4(octets(groups[1], groups[2]));
  return (
    (first & 0xe000) !== 0x2000 ||
    (first === 0x2001 && (second < 0x200 || second === 0xdb8)) ||
    (first & 0xfff0) === 0x3ff0
  );
}

function octets(high = 0, low = 0): number[] {
  return [high >> 8, high & 255, low >> 8, low & 255];
}

function expand(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const left = parse(head);
  const right = tail === undefined ? [] : parse(tail);
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
}
