// ARP (RFC 826, RFC 5227): the neighbours' questions and answers for IPv4.
//
// Pure but for the socket that it is given. Tested in recovery/failover/kernel-gate.test.ts and recovery/steps/traffic-address.test.ts, on links
// between two network namespaces.

import type { PacketSocket } from './packet-socket.ts';

export const ARP_PROTOCOL = 0x0806;
const PACKET_BYTES = 28;
const REQUEST = 1;
const REPLY = 2;
const EVERYBODY = Buffer.alloc(6, 0xff);

/** Gratuitous ARP, as request and as reply: some listen to the one, some to the other. Throws SYSTEM_CALL_FAILED. */
export function announceByArp(socket: PacketSocket, ip: string): void {
  for (const operation of [REQUEST, REPLY]) {
    socket.send(packet(operation, socket.hardwareAddress, ip, ip), EVERYBODY);
  }
}

/** Asks who has it, without saying who asks: nobody's table changes by it. Throws SYSTEM_CALL_FAILED. */
export function askByArp(socket: PacketSocket, ip: string): void {
  socket.send(packet(REQUEST, socket.hardwareAddress, '0.0.0.0', ip), EVERYBODY);
}

/** Whether this packet shows that another host than `own` has the address. */
export function isHeldByArp(heard: Buffer, own: Buffer, ip: string): boolean {
  return (
    heard.length >= PACKET_BYTES &&
    !heard.subarray(8, 14).equals(own) &&
    heard.subarray(14, 18).equals(addressBytes(ip))
  );
}

function packet(operation: number, own: Buffer, senderIp: string, targetIp: string): Buffer {
  const bytes = Buffer.alloc(PACKET_BYTES);
  bytes.writeUInt16BE(1, 0);
  bytes.writeUInt16BE(0x0800, 2);
  bytes.writeUInt8(6, 4);
  bytes.writeUInt8(4, 5);
  bytes.writeUInt16BE(operation, 6);
  own.copy(bytes, 8);
  addressBytes(senderIp).copy(bytes, 14);
  if (operation === REPLY) own.copy(bytes, 18);
  addressBytes(targetIp).copy(bytes, 24);
  return bytes;
}

function addressBytes(ip: string): Buffer {
  return Buffer.from(ip.split('.').map(Number));
}
