// Calls to the agents of other hosts: over mTLS, to the very host that is meant, at whichever of its addresses answers.
//
// Hazard: messages pile up for a host that is gone. They may all be lost, so only a few are ever under way, and the rest is dropped.
//
// Tested in peers.test.ts.

import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import { callUnary, type Channel } from '@holdfast/shared/rpc/calls';
import { openChannel } from '@holdfast/shared/rpc/channel';
import { failoverFromWire, failoverToWire } from '@holdfast/shared/rpc/failover-wire';
import { PeerDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/failover';
import { peerName } from '@holdfast/shared/rpc/peer-name';
import type { AgentIdentity } from './identity.ts';

export interface PeerLinks {
  /** `answered` gets what came back with the answer. */
  tell(
    peer: PeerTarget,
    application: string,
    message: FailoverMessage,
    answered: (messages: readonly FailoverMessage[]) => void,
  ): void;
  /** Whether its agent answered within the time. */
  ping(peer: PeerTarget, application: string, withinMs: number): Promise<boolean>;
  /** The certificate was renewed: connections from now on show the new one. */
  close(): void;
}

export interface PeerTarget {
  readonly hostId: string;
  readonly addresses: readonly string[];
  readonly withinMs: number;
}

const UNDER_WAY_MAX = 16;
const CHANNELS_MAX = 64;
/** Failures in a row, after which a connection is made anew: one that was cut half-way may hang for minutes. */
const FAILURES_MAX = 3;
const KEEPALIVE = { everyMs: 5000, timeoutMs: 4000 };
const SERVICE = PeerDefinition.fullName;

interface Line {
  readonly channel: Channel;
  failures: number;
}

export function newPeerLinks(identity: () => AgentIdentity): PeerLinks {
  const lines = new Map<string, Line>();
  /** By host: the address that answered last. */
  const answering = new Map<string, string>();
  let underWay = 0;

  const lineTo = (hostId: string, address: string): Line => {
    const key = `${hostId} ${address}`;
    const known = lines.get(key);
    if (known !== undefined) return known;
    if (lines.size >= CHANNELS_MAX) closeAll();
    const { caCertificatePem, certificateChainPem: chainPem, tlsKeyPem: keyPem, domainId } = identity();
    const channel = openChannel({
      address,
      caCertificatePem,
      clientCertificate: { chainPem, keyPem },
      serverName: peerName(hostId, domainId),
      keepalive: KEEPALIVE,
    });
    const line = { channel, failures: 0 };
    lines.set(key, line);
    return line;
  };
  const closeAll = (): void => {
    for (const { channel } of lines.values()) channel.close();
    lines.clear();
    answering.clear();
  };
  const on = async <T>(hostId: string, address: string, call: (channel: Channel) => Promise<T>): Promise<T> => {
    const line = lineTo(hostId, address);
    underWay += 1;
    try {
      const answer = await call(line.channel);
      line.failures = 0;
      answering.set(hostId, address);
      return answer;
    } catch (error) {
      line.failures += 1;
      if (answering.get(hostId) === address) answering.delete(hostId);
      if (line.failures >= FAILURES_MAX && lines.delete(`${hostId} ${address}`)) line.channel.close();
      throw error;
    } finally {
      underWay -= 1;
    }
  };

  return {
    tell({ hostId, addresses, withinMs }, application, message, answered) {
      const known = answering.get(hostId);
      // Unknown which: all of them, for a message that comes twice does no harm.
      const targets = known !== undefined && addresses.includes(known) ? [known] : addresses;
      for (const address of targets) {
        if (underWay >= UNDER_WAY_MAX) return;
        const request = { messages: [failoverToWire(application, message)] };
        on(hostId, address, (channel) =>
          callUnary({ channel, service: SERVICE }, PeerDefinition.methods.tell, request, { timeoutMs: withinMs }),
        ).then(
          (reply) => answered(reply.messages.slice(0, UNDER_WAY_MAX).map((one) => failoverFromWire(one).message)),
          () => undefined,
        );
      }
    },
    async ping({ hostId, addresses }, application, withinMs) {
      const asked = addresses.map((address) =>
        on(hostId, address, (channel) =>
          callUnary(
            { channel, service: SERVICE },
            PeerDefinition.methods.ping,
            { application },
            { timeoutMs: withinMs },
          ),
        ).then(
          (reply) => reply.hostId === hostId,
          () => false,
        ),
      );
      return (await Promise.all(asked)).includes(true);
    },
    close: closeAll,
  };
}
