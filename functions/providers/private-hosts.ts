import ipaddr from "ipaddr.js";

/** The only public IPv6 block. The library counts unassigned blocks as public, too. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse("2000::"), 3];

/**
 * Whether a host means this machine or its network. It takes hosts as the URL parser leaves them: IPv4 in dotted form,
 * IPv6 in brackets. Names are judged as written: what they resolve to is for the platform to refuse.
 */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/\.+$/, "");
  if (host.startsWith("[")) return isPrivateIPv6(host.slice(1, -1));
  if (ipaddr.IPv4.isValid(host)) return isPrivateIPv4(ipaddr.IPv4.parse(host));
  return (
    !host.includes(".") ||
    /(?:^|\.)(?:localhost|local|internal|intranet|lan|home|corp|localdomain|arpa)$/.test(host)
  );
}

// Source: IANA's registries of special-purpose addresses, as ipaddr.js has them.

function isPrivateIPv4(address: ipaddr.IPv4): boolean {
  return address.range() !== "unicast";
}

/** Private, too, if it is no address or has a zone. */
function isPrivateIPv6(text: string): boolean {
  if (text.includes("%") || !ipaddr.IPv6.isValid(text)) return true;
  const address = ipaddr.IPv6.parse(text);
  const inside = wrappedIPv4(address);
  if (inside !== null) return isPrivateIPv4(inside);
  return address.range() !== "unicast" || !address.match(GLOBAL_UNICAST);
}

/** The IPv4 address that a mapped, NAT64 or 6to4 address leads to. */
function wrappedIPv4(address: ipaddr.IPv6): ipaddr.IPv4 | null {
  const bytes = address.toByteArray();
  switch (address.range()) {
    case "ipv4Mapped":
      return address.toIPv4Address();
    case "rfc6052":
      // 64:ff9b:1::/48 belongs to whoever runs the network.
      return address.match(ipaddr.IPv6.parse("64:ff9b::"), 96) ? new ipaddr.IPv4(bytes.slice(12)) : null;
    case "6to4":
      return new ipaddr.IPv4(bytes.slice(2, 6));
    default:
      return null;
  }
}
