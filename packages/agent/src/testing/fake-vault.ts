// A vault in memory that serves a built snapshot, and misbehaves as told.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind, parseHeader, referencesOf } from '@holdfast/shared/format/envelope';
import {
  OBJECT_ITSELF,
  type ObjectHandle,
  type ReadSession,
  type ServedObject,
  type VaultClient,
  type WantAnswer,
  type WantReceiver,
} from '../link/vault-port.ts';

export interface FakeVaultOptions {
  /** Objects (ids in hex) that cannot be served. */
  readonly notServed?: ReadonlyMap<string, 'damaged' | 'missing'>;
  /** Other bytes in place of an object's own. */
  readonly swapped?: ReadonlyMap<string, Buffer>;
  /** Called before each object is handed out; a promise holds it back, an error breaks the session. */
  readonly beforeObject?: (id: string, served: number) => Promise<void> | void;
}

export interface FakeVault {
  readonly client: VaultClient;
  /** Ids in hex, in the order served. */
  readonly served: string[];
  /** Wants open at one time, at most. */
  readonly mostWants: () => number;
}

export function fakeVault(
  objects: ReadonlyMap<string, Buffer>,
  recordId: Buffer,
  options: FakeVaultOptions = {},
): FakeVault {
  const served: string[] = [];
  let open = 0;
  let most = 0;
  const macOf = (id: Uint8Array): Uint8Array => Buffer.concat([Buffer.from('mac:'), id]);
  const session = (signal: AbortSignal): ReadSession => {
    let closed = false;
    const one = async (parent: ObjectHandle, reference: number, receive: WantReceiver): Promise<void> => {
      const id = reference === OBJECT_ITSELF ? Buffer.from(parent.id) : referenceOf(objects, parent, reference);
      const hex = id.toString('hex');
      await options.beforeObject?.(hex, served.length);
      if (closed || signal.aborted) throw new HoldfastError('CANCELLED', 'the read session was closed');
      const reason = options.notServed?.get(hex) ?? (objects.has(hex) ? undefined : 'missing');
      if (reason !== undefined) {
        receive.onFailure({ reference, id, reason, message: 'as the test says' });
        return;
      }
      served.push(hex);
      const envelope = Buffer.from(new Uint8Array(options.swapped?.get(hex) ?? objects.get(hex)!).buffer);
      const isChunk = parseHeader(objects.get(hex)!).kind === ObjectKind.chunk;
      const object: ServedObject = {
        reference,
        id,
        envelope,
        mac: isChunk ? undefined : macOf(id),
        pack: 'pack',
        packOffset: 0,
      };
      await receive.onObject(object);
    };
    const want: ReadSession['want'] = async (parent, references, receive) => {
      if (!Buffer.from(parent.mac).equals(Buffer.from(macOf(parent.id))))
        throw new HoldfastError('NOT_ALLOWED', 'a wrong mac');
      open++;
      most = Math.max(most, open);
      try {
        await Promise.resolve();
        for (const reference of references.length === 0 ? [OBJECT_ITSELF] : references)
          await one(parent, reference, receive);
      } finally {
        open--;
      }
    };
    return {
      record: { id: recordId, mac: macOf(recordId) },
      want,
      async fetch(parent, references) {
        const answer: { objects: ServedObject[]; failures: WantAnswer['failures'][number][] } = {
          objects: [],
          failures: [],
        };
        await want(parent, references, {
          onObject: (object) => void answer.objects.push(object),
          onFailure: (failure) => answer.failures.push(failure),
        });
        return answer;
      },
      close: () => {
        closed = true;
      },
    };
  };
  const refuse = (): never => {
    throw new HoldfastError('INTERNAL', 'this vault only serves');
  };
  return {
    client: {
      openRead: async (_grant, { signal }) => session(signal),
      openBackup: refuse,
      grantOwn: refuse,
      openLog: refuse,
      openLogRead: refuse,
    },
    served,
    mostWants: () => most,
  };
}

function referenceOf(objects: ReadonlyMap<string, Buffer>, parent: ObjectHandle, reference: number): Buffer {
  const envelope = objects.get(Buffer.from(parent.id).toString('hex'));
  if (envelope === undefined) throw new HoldfastError('NOT_FOUND', 'the parent is not here');
  return Buffer.from(referencesOf(envelope).subarray(reference * 32, reference * 32 + 32));
}
