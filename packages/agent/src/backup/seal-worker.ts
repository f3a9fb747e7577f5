// Seal thread: takes pieces of the shared slabs, compresses, encrypts and hashes them, and hands the envelopes to the main
// thread and their ids to the scan thread.
//
// The envelope is posted before the id: so whoever has seen the id (a manifest node) is behind the chunk on its way.

import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { seal } from '@holdfast/shared/format/seal';
import type { PieceToSeal, SealedPiece, SealWorkerData } from './messages.ts';
import { Pressure } from './pressure.ts';

const { keys, slabs, pressure: pressureMemory, scanPort, compression } = workerData as SealWorkerData;
const memory = slabs.map((slab) => Buffer.from(slab));
const pressure = new Pressure(pressureMemory);
const toMain = parentPort!;

function sealPiece({ serial, slab, offset, length }: PieceToSeal, toScan: MessagePort): void {
  const plain = memory[slab]!.subarray(offset, offset + length);
  const { id, envelope, proof } = seal(keys, ObjectKind.chunk, NO_REFERENCES, plain, compression);
  pressure.hold(envelope.length);
  toMain.postMessage({ kind: 'chunk', id, envelope, plainLength: length }, [envelope.buffer]);
  const sealed: SealedPiece = { serial, id, proof };
  toScan.postMessage(sealed);
  pressure.signal();
}

const NO_REFERENCES = new Uint8Array(0);

// The main thread ends this one. Without this it would end by itself as soon as the scan thread has gone, maybe before the
// main thread has heard what the scan found: a backup that was done would count as one that lost a thread.
toMain.ref();

scanPort.on('message', (piece: PieceToSeal) => {
  try {
    sealPiece(piece, scanPort);
  } catch (error) {
    // The main thread ends the backup; the scan thread must not wait for this piece for ever.
    pressure.cancel();
    throw error;
  }
});
