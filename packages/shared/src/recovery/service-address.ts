// A service address as a plan writes it: IPv4 or IPv6, with the length of its network's prefix; and the one text that each has.
//
// Hazard: the kernel writes an address in one way and people in several. An address that is looked for in a text of its own is never found,
// and so is never taken off a host that lost its lease.
//
// Pure. Tested in service-address.test.ts.

import { isIP, isIPv4 } from 'node:net';

export interface ServiceIp {
  readonly family: 4 | 6;
  /** As the kernel writes it. */
  readonly ip: string;
  /** A host alone (/32, /128) where nothing is said. */
  readonly prefixLength: number;
  /** IP/PREFIX. */
  readonly prefixed: string;
}

/** Why `given` can't be a service address, as an end of a sentence; what it is otherwise. */
export function readServiceAddress(given: string): ServiceIp | string {
  const [host = '', length, ...rest] = given.split('/');
  if (host.startsWith('[')) return 'an address without brackets was expected, such as fd00:77::100/64';
  if (host.includes('%')) return 'an address that says the same on every host was expected: a zone (%eth0) does not';
  const family = isIP(host);
  const most = family === 4 ? 32 : 128;
  const prefixLength = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : Infinity;
  if ((family !== 4 && family !== 6) || rest.length > 0 || prefixLength > most) {
    return 'an IP address with its prefix length was expected, such as 10.77.0.100/24 or fd00:77::100/64';
  }
  const ip = canonicalAddress(host);
  if (!isUnicast(ip)) return `an address that one host has on a network was expected, and ${ip} is none`;
  return { family, ip, prefixLength, prefixed: `${ip}/${prefixLength}` };
}

/** One text for each address (RFC 5952). @param address IPv4 or IPv6, without a zone */
export function canonicalAddress(address: string): string {
  if (isIPv4(address)) return address;
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

/** IPv6: what a client can reach without naming a device of its own. */
function isUnicast(ip: string): boolean {
  if (isIPv4(ip)) {
    const [first = 0] = ip.split('.').map(Number);
    return first > 0 && first < 224 && first !== 127;
  }
  const [group = ''] = ip.split(':');
  const high = Number.parseInt(group === '' ? '0' : group, 16);
  const linkLocal = (high & 0xffc0) === 0xfe80;
  const multicast = (high & 0xff00) === 0xff00;
  // ::, ::1, and IPv4 in IPv6's clothes.
  return !linkLocal && !multicast && high !== 0;
}
