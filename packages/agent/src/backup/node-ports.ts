// Where the manifest's builders put their nodes: sealed by the thread that builds, into the agent's cache, and to the main
// thread, which offers each behind the chunks that it may refer to.

import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { BuilderPorts, EmittedNode } from '@holdfast/shared/format/manifest/builder';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import { seal } from '@holdfast/shared/format/seal';
import type { ScanMessage } from './messages.ts';
import type { NodeCache } from './node-cache.ts';
import type { Pressure } from './pressure.ts';
import type { SealingLane } from './sealing-lane.ts';

export interface SealedNodeReference extends NodeReference {
  readonly envelope: Buffer<ArrayBuffer>;
}

export function nodePorts(
  keys: DomainKeys,
  cache: NodeCache,
  pressure: Pressure,
  lane: SealingLane,
  post: (message: ScanMessage, transfer: ArrayBuffer[]) => void,
): BuilderPorts<SealedNodeReference> {
  return {
    node: Buffer.from(keys.node),
    sealNode(references: Buffer, payload: Buffer): SealedNodeReference {
      const { id, proof, envelope } = seal(keys, ObjectKind.manifestNode, references, payload);
      return { id, proof, envelope };
    },
    onNode(node: EmittedNode<SealedNodeReference>): void {
      const { id, envelope } = node.sealed;
      cache.append(id, node);
      pressure.hold(envelope.length);
      const { sealed: afterChunks } = lane;
      post({ kind: 'node', id, envelope, referenceProofs: node.proofs, afterChunks }, [envelope.buffer]);
    },
  };
}
