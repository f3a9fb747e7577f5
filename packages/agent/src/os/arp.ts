// ARP over a raw socket: telling a network who has an address now, and asking whether somebody has it.
//
// Hazard: after an address moved, its neighbours go on sending to the old host for minutes. And a host that takes an address which another
// one still has makes both unreachable.
//
// IPv4 over Ethernet. Needs CAP_NET_RAW. Tested in recovery/failover/kernel-gate.test.ts, on a link between two network namespaces.

import koffi from 'koffi';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';

const AF_INET = 2;
const AF_PACKET = 17;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SOCK_DGRAM_CLOSE_ON_EXEC = 2 | 0o2000000;
const ETH_P_ARP = 0x0806;
const MSG_DONTWAIT = 0x40;
const PACKET_BYTES = 28;
const REQUEST = 1;
const REPLY = 2;
const POLL_MS = 20;
const ASK_EVERY_MS = 500;
/** What arrives between two looks at most, before the rest waits for the next look. */
const PACKETS_AT_ONCE = 64;

const library = koffi.load(null);
const openSocket: (domain: number, type: number, protocol: number) => number = library.func('socket', 'int', [
  'int',
  'int',
  'int',
]);
const bind: (fd: number, address: Buffer, length: number) => number = library.func('bind', 'int', [
  'int',
  'void *',
  'uint32_t',
]);
const sendto: (fd: number, data: Buffer, length: number, flags: number, to: Buffer, toLength: number) => number =
  library.func('sendto', 'int64_t', ['int', 'void *', 'uint64_t', 'int', 'void *', 'uint32_t']);
const recv: (fd: number, data: Buffer, length: number, flags: number) => number = library.func('recv', 'int64_t', [
  'int',
  'void *',
  'uint64_t',
  'int',
]);
const ioctl: (fd: number, request: number, argument: Buffer) => number = library.func('ioctl', 'int', [
  'int',
  'uint64_t',
  'void *',
]);
const close: (fd: number) => number = library.func('close', 'int', ['int']);

/** Gratuitous ARP, as request and as reply: some listen to the one, some to the other. Throws SYSTEM_CALL_FAILED, NOT_FOUND (the device). */
export function announceAddress(device: string, ip: string): void {
  const own = hardwareAddress(device);
  withSocket(device, (fd) => {
    for (const operation of [REQUEST, REPLY]) send(fd, device, packet(operation, own, ip, ip));
  });
}

/** Whether somebody else on this network answers for `ip` within `waitMs`. Throws SYSTEM_CALL_FAILED, NOT_FOUND (the device). */
export async function addressAnswers(device: string, ip: string, waitMs: number, clock: Clock): Promise<boolean> {
  const own = hardwareAddress(device);
  const fd = open(device);
  try {
    const heard = Buffer.alloc(256);
    const wanted = addressBytes(ip);
    const untilMs = clock.monotonicMs() + waitMs;
    let askAtMs = -Infinity;
    for (;;) {
      const nowMs = clock.monotonicMs();
      if (nowMs >= untilMs) return false;
      if (nowMs >= askAtMs) {
        send(fd, device, packet(REQUEST, own, '0.0.0.0', ip));
        askAtMs = nowMs + ASK_EVERY_MS;
      }
      for (let count = 0; count < PACKETS_AT_ONCE; count++) {
        const length = recv(fd, heard, heard.length, MSG_DONTWAIT);
        if (length < PACKET_BYTES) break;
        const isFromOther = !heard.subarray(8, 14).equals(own);
        if (isFromOther && heard.subarray(14, 18).equals(wanted)) return true;
      }
      await sleep(clock, POLL_MS);
    }
  } finally {
    close(fd);
  }
}

function withSocket(device: string, work: (fd: number) => void): void {
  const fd = open(device);
  try {
    work(fd);
  } finally {
    close(fd);
  }
}

function open(device: string): number {
  const fd = openSocket(AF_PACKET, SOCK_DGRAM_CLOSE_ON_EXEC, swap16(ETH_P_ARP));
  if (fd < 0) throw failed('open a raw socket');
  if (bind(fd, linkAddress(device), 20) !== 0) {
    close(fd);
    throw failed(`use ${device}`);
  }
  return fd;
}

function send(fd: number, device: string, bytes: Buffer): void {
  if (sendto(fd, bytes, bytes.length, 0, linkAddress(device), 20) < 0) throw failed(`send on ${device}`);
}

/** struct sockaddr_ll, to everybody. */
function linkAddress(device: string): Buffer {
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ARP, 2);
  address.writeInt32LE(interfaceIndex(device), 4);
  address.writeUInt8(6, 11);
  address.fill(0xff, 12, 18);
  return address;
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

function interfaceIndex(device: string): number {
  return ask(device, SIOCGIFINDEX).readInt32LE(16);
}

function hardwareAddress(device: string): Buffer {
  return ask(device, SIOCGIFHWADDR).subarray(18, 24);
}

/** struct ifreq. By a socket and not from /sys, which may show another network namespace. */
function ask(device: string, request: number): Buffer {
  const answer = Buffer.alloc(40);
  answer.write(device.slice(0, 15), 'latin1');
  const fd = openSocket(AF_INET, SOCK_DGRAM_CLOSE_ON_EXEC, 0);
  if (fd < 0) throw failed('open a socket');
  try {
    if (ioctl(fd, request, answer) !== 0) {
      throw new HoldfastError('NOT_FOUND', `this host has no network device ${device}`);
    }
    return answer;
  } finally {
    close(fd);
  }
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8);
}

function failed(what: string): HoldfastError {
  return new HoldfastError('SYSTEM_CALL_FAILED', `cannot ${what} for ARP (errno ${koffi.errno()})`, {
    hint: 'It needs the capability CAP_NET_RAW.',
  });
}
