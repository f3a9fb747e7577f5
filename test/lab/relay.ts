// Holds back what goes to and from one host: copies Ethernet frames between two TAP devices, each some milliseconds later.
// A process of its own, run in the cable's namespace: `node relay.js NEAR FAR MS`. Writes a line when it is ready.
//
// There is no netem here. Frames keep their order; what comes while too much is held is dropped, as a router would.

import { openSync, read, writeSync } from 'node:fs';
import { answer, libc } from '@holdfast/agent/os/libc';

/** linux/if_tun.h: TUNSETIFF, and whole Ethernet frames without a header of the driver's. */
const TUNSETIFF = 0x400454ca;
const IFF_TAP_NO_PI = 0x1002;
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;
const FRAME_BYTES = 65_536;
const HELD_MAX_BYTES = 64 * 1024 * 1024;

interface Held {
  readonly due: number;
  readonly frame: Buffer;
}

function openTap(name: string): number {
  const fd = openSync('/dev/net/tun', 'r+');
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name, 0, NAME_BYTES - 1, 'latin1');
  request.writeUInt16LE(IFF_TAP_NO_PI, NAME_BYTES);
  const result = answer(libc.ioctl(fd, TUNSETIFF, request));
  if (result < 0) throw new Error(`the device ${name} can't be held: errno ${-result}`);
  return fd;
}

/** One direction. */
function relay(from: number, to: number, delayMs: number): void {
  const held: Held[] = [];
  let heldBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const release = (): void => {
    timer = undefined;
    while (held[0] !== undefined && held[0].due <= performance.now()) {
      const { frame } = held.shift()!;
      heldBytes -= frame.length;
      try {
        writeSync(to, frame);
      } catch {
        // The device is down, or its queue is full: frames get lost in cables.
      }
    }
    if (held[0] !== undefined) timer = setTimeout(release, Math.max(1, held[0].due - performance.now()));
  };
  const buffer = Buffer.alloc(FRAME_BYTES);
  const next = (): void => {
    read(from, buffer, 0, buffer.length, null, (error, length) => {
      if (error !== null) {
        setTimeout(next, 10); // EIO while the device is down
        return;
      }
      if (heldBytes < HELD_MAX_BYTES) {
        held.push({ due: performance.now() + delayMs, frame: Buffer.from(buffer.subarray(0, length)) });
        heldBytes += length;
        timer ??= setTimeout(release, delayMs);
      }
      next();
    });
  };
  next();
}

const [near, far, delay] = process.argv.slice(2);
if (near === undefined || far === undefined || !(Number(delay) > 0)) throw new Error('relay NEAR FAR MS');
const [left, right] = [openTap(near), openTap(far)];
relay(left, right, Number(delay));
relay(right, left, Number(delay));
process.stdout.write('relaying\n');
