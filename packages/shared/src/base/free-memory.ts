// Giving the memory of large buffers back at once, instead of leaving it to the collector, which is in no hurry with what lies
// outside its heap.
//
// Hazard: a small buffer may lie in Buffer's pool, which others use: that is left alone. And memory that is given back must
// have no other reader: every view of it is empty afterwards.

/** Only for bytes that nothing else looks at any more. */
export function freeMemory(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer && bytes.buffer.byteLength > Buffer.poolSize) bytes.buffer.transfer(0);
}
