// A raw socket on one network device, for one protocol: what stands below ARP and Neighbour Discovery.
//
// Hazard: a socket that hears all of a busy host's traffic loses the one answer that is waited for. So a filter in the kernel is there before
// the first packet is.
//
// Ethernet. Needs CAP_NET_RAW. Tested through arp.ts and ndp.ts.

import koffi from 'koffi';
import { HoldfastError } from '@holdfast/shared/base/errors';

const AF_INET = 2;
const AF_PACKET = 17;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SOCK_DGRAM_CLOSE_ON_EXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const MSG_DONTWAIT = 0x40;
const LINK_ADDRESS_BYTES = 20;
const PACKET_MAX_BYTES = 2048;
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
const setsockopt: (fd: number, level: number, name: number, value: Buffer, length: number) => number = library.func(
  'setsockopt',
  'int',
  ['int', 'int', 'int', 'void *', 'uint32_t'],
);
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

/** One instruction of the classic packet filter: code, where to when true, where to when false, operand. */
export type FilterInstruction = readonly [code: number, whenTrue: number, whenFalse: number, operand: number];

export interface PacketSocket {
  /** The device's own, 6 bytes. */
  readonly hardwareAddress: Buffer;
  /** @param packet without the link's header  @param to 6 bytes. Throws SYSTEM_CALL_FAILED. */
  send(packet: Buffer, to: Buffer): void;
  /** What has arrived since the last look, a bounded number; each is valid until the next one is taken. */
  arrived(): Iterable<Buffer>;
  close(): void;
}

/** @param protocol of Ethernet. Throws SYSTEM_CALL_FAILED, NOT_FOUND (the device). */
export function openPacketSocket(
  device: string,
  protocol: number,
  filter: readonly FilterInstruction[] = [],
): PacketSocket {
  const hardwareAddress = ask(device, SIOCGIFHWADDR).subarray(18, 24);
  const index = ask(device, SIOCGIFINDEX).readInt32LE(16);
  // Without a protocol it hears nothing before it is bound, when the filter is in place.
  const fd = openSocket(AF_PACKET, SOCK_DGRAM_CLOSE_ON_EXEC, 0);
  if (fd < 0) throw failed('open a raw socket');
  try {
    if (filter.length > 0) attach(fd, filter);
    if (bind(fd, linkAddress(index, protocol, Buffer.alloc(6)), LINK_ADDRESS_BYTES) !== 0) {
      throw failed(`use ${device}`);
    }
  } catch (error) {
    close(fd);
    throw error;
  }
  return {
    hardwareAddress,
    send(packet, to) {
      const address = linkAddress(index, protocol, to);
      if (sendto(fd, packet, packet.length, 0, address, LINK_ADDRESS_BYTES) < 0) throw failed(`send on ${device}`);
    },
    *arrived() {
      const heard = Buffer.alloc(PACKET_MAX_BYTES);
      for (let count = 0; count < PACKETS_AT_ONCE; count++) {
        const length = recv(fd, heard, heard.length, MSG_DONTWAIT);
        if (length <= 0) return;
        yield heard.subarray(0, length);
      }
    },
    close: () => void close(fd),
  };
}

/** struct sock_fprog, which points to an array of struct sock_filter; the kernel copies it. */
function attach(fd: number, filter: readonly FilterInstruction[]): void {
  const program = Buffer.alloc(8 * filter.length);
  for (const [at, [code, whenTrue, whenFalse, operand]] of filter.entries()) {
    program.writeUInt16LE(code, 8 * at);
    program.writeUInt8(whenTrue, 8 * at + 2);
    program.writeUInt8(whenFalse, 8 * at + 3);
    program.writeUInt32LE(operand, 8 * at + 4);
  }
  const pointer = Buffer.alloc(16);
  pointer.writeUInt16LE(filter.length, 0);
  pointer.writeBigUInt64LE(koffi.address(program), 8);
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, pointer, pointer.length) !== 0) throw failed('filter');
}

/** struct sockaddr_ll. */
function linkAddress(index: number, protocol: number, to: Buffer): Buffer {
  const address = Buffer.alloc(LINK_ADDRESS_BYTES);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(protocol, 2);
  address.writeInt32LE(index, 4);
  address.writeUInt8(6, 11);
  to.copy(address, 12);
  return address;
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

function failed(what: string): HoldfastError {
  return new HoldfastError(
    'SYSTEM_CALL_FAILED',
    `cannot ${what} to speak with the neighbours (errno ${koffi.errno()})`,
    {
      hint: 'It needs the capability CAP_NET_RAW.',
    },
  );
}
