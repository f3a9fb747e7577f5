// Neighbour Discovery (RFC 4861): the neighbours' questions and answers for IPv6.
//
// An unsolicited advertisement (7.2.6) goes to all nodes with the override flag, so that whoever has an entry takes the new host at once. The
// question is the one of duplicate address detection (RFC 4862, 5.4.2): from nobody, so that a holder answers to all nodes, and no entry
// changes by it. Questions of others count for nothing: two hosts that ask at the same time would each take the other for the holder.
//
// Pure but for the socket that it is given. Tested in ndp.test.ts and, between network namespaces, in recovery/steps/traffic-address.test.ts.

import type { FilterInstruction, PacketSocket } from './packet-socket.ts';

export const IPV6_PROTOCOL = 0x86dd;
const HEADER_BYTES = 40;
const ICMPV6 = 58;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const OVERRIDE = 0x20;
const TARGET_LINK_ADDRESS = 2;
/** Who is further away than the link can't have sent it (RFC 4861, 11.2). */
const HOP_LIMIT = 255;
const TARGET_AT = HEADER_BYTES + 8;
const OPTIONS_AT = TARGET_AT + 16;
const NOBODY = Buffer.alloc(16);

/** Advertisements alone: next header and ICMPv6 type, at their places in a packet without extension headers, as RFC 6980 demands. */
export const ADVERTISEMENTS_ONLY: readonly FilterInstruction[] = [
  [0x30, 0, 0, 6],
  [0x15, 0, 3, ICMPV6],
  [0x30, 0, 0, HEADER_BYTES],
  [0x15, 0, 1, ADVERTISEMENT],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];

/** Throws SYSTEM_CALL_FAILED. */
export function announceByNdp(socket: PacketSocket, ip: string): void {
  const target = addressBytes(ip);
  const option = Buffer.concat([Buffer.from([TARGET_LINK_ADDRESS, 1]), socket.hardwareAddress]);
  const all = addressBytes('ff02::1');
  socket.send(packet(target, all, [ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0], target, option), multicastLink(all));
}

/** Throws SYSTEM_CALL_FAILED. */
export function askByNdp(socket: PacketSocket, ip: string): void {
  const target = addressBytes(ip);
  // The group of those whose address ends so.
  const group = Buffer.concat([addressBytes('ff02::1:ff00:0').subarray(0, 13), target.subarray(13)]);
  const question = packet(NOBODY, group, [SOLICITATION, 0, 0, 0, 0, 0, 0, 0], target, Buffer.alloc(0));
  socket.send(question, multicastLink(group));
}

/** Whether this packet is the advertisement of another host than `own` for the address. */
export function isHeldByNdp(heard: Buffer, own: Buffer, ip: string): boolean {
  if (heard.length < OPTIONS_AT || heard[6] !== ICMPV6 || heard[7] !== HOP_LIMIT) return false;
  const message = heard.subarray(HEADER_BYTES, HEADER_BYTES + heard.readUInt16BE(4));
  if (
    message[0] !== ADVERTISEMENT ||
    message[1] !== 0 ||
    !heard.subarray(TARGET_AT, OPTIONS_AT).equals(addressBytes(ip))
  ) {
    return false;
  }
  if (checksum(heard.subarray(8, 24), heard.subarray(24, 40), message) !== 0) return false;
  // One's own, which the network sent back.
  const said = optionOf(message.subarray(OPTIONS_AT - HEADER_BYTES), TARGET_LINK_ADDRESS);
  return said === undefined || !said.subarray(0, 6).equals(own);
}

function optionOf(options: Buffer, type: number): Buffer | undefined {
  for (let at = 0; at + 8 <= options.length;) {
    const length = 8 * (options[at + 1] ?? 0);
    if (length === 0) return undefined;
    if (options[at] === type) return options.subarray(at + 2, at + length);
    at += length;
  }
  return undefined;
}

function packet(from: Buffer, to: Buffer, start: readonly number[], target: Buffer, option: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from(start), target, option]);
  message.writeUInt16BE(checksum(from, to, message), 2);
  const header = Buffer.alloc(8);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(message.length, 4);
  header.writeUInt8(ICMPV6, 6);
  header.writeUInt8(HOP_LIMIT, 7);
  return Buffer.concat([header, from, to, message]);
}

/** Of the message and a pseudo-header (RFC 8200, 8.1); 0 for one that holds its own. */
function checksum(from: Buffer, to: Buffer, message: Buffer): number {
  const end = Buffer.alloc(8);
  end.writeUInt32BE(message.length, 0);
  end.writeUInt8(ICMPV6, 7);
  const all = Buffer.concat([from, to, end, message, Buffer.alloc(message.length % 2)]);
  let sum = 0;
  for (let at = 0; at < all.length; at += 2) sum += all.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** RFC 2464, 7. */
function multicastLink(group: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x33, 0x33]), group.subarray(12)]);
}

/** @param ip without a zone, and without IPv4 in its end */
function addressBytes(ip: string): Buffer {
  const [head = '', tail] = ip.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const before = groups(head);
  const after = groups(tail ?? '');
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0');
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...before, ...zeros, ...after].slice(0, 8).entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * at);
  }
  return bytes;
}
