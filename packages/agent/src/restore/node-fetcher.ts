// Manifest nodes over a read session: fetched ahead, opened, checked against their ids.
//
// Hazard: a walk that waits for each node costs a round trip a leaf; one that fetches all it might need costs memory
// without bound. So siblings are fetched ahead, a few at a time.
//
// Invariants (fetchers.test.ts):
//   N1 at most AHEAD nodes are held or on their way besides the one that is waited for;
//   N2 a node is given out only if its bytes have the id that its parent names, and open as a node.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { AsyncNodeStore, NodeBytes, WantedNode } from '@holdfast/shared/format/manifest/node-store';
import type { ObjectHandle, ObjectNotServed, ReadSession, ServedObject } from '../link/vault-port.ts';
import type { KeyRing } from './key-ring.ts';
import { keyOf, shortId } from './opened-chunks.ts';
import { asBuffer } from './restore-task.ts';

const AHEAD = 8;
/** Asking for one at a time would cost a message each. */
const ASK_AT_LEAST = 4;
/** MACs of nodes whose children may still be wanted: all inner nodes above the walk, and more. */
const MACS_KEPT = 4096;

interface Ahead {
  readonly node: Promise<NodeBytes>;
  readonly resolve: (node: NodeBytes) => void;
  readonly reject: (error: unknown) => void;
}

export class NodeFetcher implements AsyncNodeStore {
  readonly #session: ReadSession;
  readonly #keys: KeyRing;
  readonly #received: (bytes: number) => Promise<void>;
  readonly #ahead = new Map<string, Ahead>();
  readonly #macs = new Map<string, Uint8Array>();

  /** @param received called with the length of every envelope; what it returns holds the stream back */
  constructor(session: ReadSession, keys: KeyRing, received: (bytes: number) => Promise<void>) {
    this.#session = session;
    this.#keys = keys;
    this.#received = received;
    this.#remember(session.record.id, session.record.mac);
  }

  /** Throws DAMAGED for a node that the vault can't serve, or whose bytes are not what its id says. */
  async load(wanted: WantedNode): Promise<NodeBytes> {
    const key = keyOf(wanted.id);
    const ahead = this.#ahead.get(key);
    if (ahead !== undefined) {
      this.#ahead.delete(key);
      return ahead.node;
    }
    const own = newAhead();
    this.#ask([{ wanted, ahead: own }]);
    return own.node;
  }

  expect(wanted: readonly WantedNode[]): void {
    const room = AHEAD - this.#ahead.size;
    const fresh = wanted.slice(0, AHEAD).filter(({ id }) => !this.#ahead.has(keyOf(id)));
    if (fresh.length === 0 || room <= 0 || (fresh.length < ASK_AT_LEAST && this.#ahead.size > 1)) return;
    const asked = fresh.slice(0, room).map((one) => ({ wanted: one, ahead: newAhead() }));
    for (const { wanted: one, ahead } of asked) {
      this.#ahead.set(keyOf(one.id), ahead);
      // Whoever loads it sees the error; until then it must not count as unhandled.
      ahead.node.catch(() => undefined);
    }
    this.#ask(asked);
  }

  /** What names a node that was loaded as a parent. */
  handleOf(id: Uint8Array): ObjectHandle {
    const mac = this.#macs.get(keyOf(id));
    if (mac === undefined) throw new HoldfastError('INTERNAL', `node ${shortId(id)} was not served`);
    this.#remember(id, mac);
    return { id, mac };
  }

  #ask(asked: readonly { readonly wanted: WantedNode; readonly ahead: Ahead }[]): void {
    const byParent = Map.groupBy(asked, ({ wanted }) => keyOf(wanted.parent ?? this.#session.record.id));
    for (const group of byParent.values()) void this.#askUnder(group);
  }

  async #askUnder(group: readonly { readonly wanted: WantedNode; readonly ahead: Ahead }[]): Promise<void> {
    const open = new Map(group.map((one) => [one.wanted.index, one]));
    const failAll = (error: unknown): void => {
      for (const { ahead } of open.values()) ahead.reject(error);
    };
    try {
      const parent = this.handleOf(group[0]!.wanted.parent ?? this.#session.record.id);
      await this.#session.want(parent, [...open.keys()], {
        onObject: async (object) => {
          const one = open.get(object.reference);
          if (one === undefined) return;
          try {
            one.ahead.resolve(this.#opened(one.wanted, object));
          } catch (error) {
            one.ahead.reject(error);
          }
          await this.#received(object.envelope.length);
        },
        onFailure: (failure) => open.get(failure.reference)?.ahead.reject(notServed(failure)),
      });
      failAll(new HoldfastError('PROTOCOL_VIOLATION', 'the vault ended a read without all of its answers'));
    } catch (error) {
      failAll(error);
    }
  }

  #opened(wanted: WantedNode, object: ServedObject): NodeBytes {
    const opened = this.#keys.open(object.envelope, { id: wanted.id, kind: ObjectKind.manifestNode });
    if (object.mac !== undefined) this.#remember(wanted.id, object.mac);
    return { references: asBuffer(opened.references), payload: opened.plain };
  }

  #remember(id: Uint8Array, mac: Uint8Array): void {
    const key = keyOf(id);
    this.#macs.delete(key);
    this.#macs.set(key, mac);
    if (this.#macs.size > MACS_KEPT) this.#macs.delete(this.#macs.keys().next().value!);
  }
}

function notServed(failure: ObjectNotServed): HoldfastError {
  return new HoldfastError('DAMAGED', `manifest node ${shortId(failure.id)} is ${failure.reason}: ${failure.message}`);
}

function newAhead(): Ahead {
  const { promise, resolve, reject } = Promise.withResolvers<NodeBytes>();
  return { node: promise, resolve, reject };
}
