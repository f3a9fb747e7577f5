// The neighbours of this host on one network: telling them who has an address now, and asking whether somebody has it.
//
// Hazard: after an address moved, its neighbours go on sending to the old host for minutes. And a host that takes an address which another
// one still has makes both unreachable.
//
// IPv4 by ARP, IPv6 by Neighbour Discovery. Needs CAP_NET_RAW. Tested in recovery/failover/kernel-gate.test.ts and
// recovery/steps/traffic-address.test.ts, on links between network namespaces.

import { isIPv4 } from 'node:net';
import { canonicalAddress } from '@holdfast/shared/recovery/service-address';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import { announceByArp, ARP_PROTOCOL, askByArp, isHeldByArp } from './arp.ts';
import { ADVERTISEMENTS_ONLY, announceByNdp, askByNdp, IPV6_PROTOCOL, isHeldByNdp } from './ndp.ts';
import { openPacketSocket, type PacketSocket } from './packet-socket.ts';

const POLL_MS = 20;
const ASK_EVERY_MS = 500;

/** Tells all neighbours that this host has it. Throws SYSTEM_CALL_FAILED, NOT_FOUND (the device). */
export function announceAddress(device: string, given: string): void {
  const ip = canonicalAddress(given);
  const socket = openFor(device, ip);
  try {
    if (isIPv4(ip)) announceByArp(socket, ip);
    else announceByNdp(socket, ip);
  } finally {
    socket.close();
  }
}

/** Whether somebody else on this network answers for the address within `waitMs`. Throws SYSTEM_CALL_FAILED, NOT_FOUND (the device). */
export async function addressAnswers(device: string, given: string, waitMs: number, clock: Clock): Promise<boolean> {
  const ip = canonicalAddress(given);
  const [ask, isHeld] = isIPv4(ip) ? [askByArp, isHeldByArp] : [askByNdp, isHeldByNdp];
  const socket = openFor(device, ip);
  try {
    const untilMs = clock.monotonicMs() + waitMs;
    let askAtMs = -Infinity;
    for (;;) {
      const nowMs = clock.monotonicMs();
      for (const heard of socket.arrived()) {
        if (isHeld(heard, socket.hardwareAddress, ip)) return true;
      }
      if (nowMs >= untilMs) return false;
      if (nowMs >= askAtMs) {
        ask(socket, ip);
        askAtMs = nowMs + ASK_EVERY_MS;
      }
      await sleep(clock, POLL_MS);
    }
  } finally {
    socket.close();
  }
}

function openFor(device: string, ip: string): PacketSocket {
  return isIPv4(ip)
    ? openPacketSocket(device, ARP_PROTOCOL)
    : openPacketSocket(device, IPV6_PROTOCOL, ADVERTISEMENTS_ONLY);
}
