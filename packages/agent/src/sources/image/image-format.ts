// What a disk image says of itself: raw, or qcow2 with what its header holds.
//
// Source of the layout: QEMU, docs/interop/qcow2.rst. Only the header is read; the image's bytes are stored as they are.
// Pure. Invariant (image-format.test.ts): no bytes make it throw or read beyond them.

export const HEADER_BYTES = 4096;

const QCOW2_MAGIC = 0x5146_49fb;
const INCOMPATIBLE_DIRTY = 1n;
const INCOMPATIBLE_CORRUPT = 2n;
const INCOMPATIBLE_EXTERNAL_DATA = 4n;
/** Guests write in blocks of this. */
const PAGE_BYTES = 4096;

export interface ImageFormat {
  readonly format: 'raw' | 'qcow2';
  /** In these pages the image is compared: guests' blocks, or clusters that are smaller. */
  readonly pageBytes: number;
  /** Of the disk that a guest sees; of a raw image its length. */
  readonly diskBytes: number | undefined;
  readonly clusterBytes: number | undefined;
  /** Another image that this one only adds to; '' for none. */
  readonly backingFile: string;
  /** Content stands in another file, which this one's snapshot has not. */
  readonly externalData: boolean;
  /** It says of itself that it was not closed in order, or is corrupt; '' when not. */
  readonly complaint: string;
}

const RAW: ImageFormat = {
  format: 'raw',
  pageBytes: PAGE_BYTES,
  diskBytes: undefined,
  clusterBytes: undefined,
  backingFile: '',
  externalData: false,
  complaint: '',
};

/** `header`: the first bytes of the image, up to HEADER_BYTES. What is no qcow2 is raw. */
export function imageFormatOf(header: Buffer): ImageFormat {
  if (header.length < 72 || header.readUInt32BE(0) !== QCOW2_MAGIC) return RAW;
  const version = header.readUInt32BE(4);
  const clusterBits = header.readUInt32BE(20);
  if ((version !== 2 && version !== 3) || clusterBits < 9 || clusterBits > 21) {
    return { ...RAW, complaint: 'begins as a qcow2 image does, and its header is none' };
  }
  const clusterBytes = 2 ** clusterBits;
  const incompatible = version === 3 && header.length >= 80 ? header.readBigUInt64BE(72) : 0n;
  return {
    format: 'qcow2',
    pageBytes: Math.min(PAGE_BYTES, clusterBytes),
    diskBytes: Number(header.readBigUInt64BE(24)),
    clusterBytes,
    backingFile: backingFileOf(header),
    externalData: (incompatible & INCOMPATIBLE_EXTERNAL_DATA) !== 0n,
    complaint: complaintOf(incompatible),
  };
}

function backingFileOf(header: Buffer): string {
  const offset = Number(header.readBigUInt64BE(8));
  const length = header.readUInt32BE(16);
  if (offset === 0 || length === 0 || length > 1023) return '';
  const end = offset + length;
  return end <= header.length ? header.toString('utf8', offset, end) : 'a file that its header names further on';
}

function complaintOf(incompatible: bigint): string {
  if ((incompatible & INCOMPATIBLE_CORRUPT) !== 0n) return 'is marked corrupt';
  return (incompatible & INCOMPATIBLE_DIRTY) !== 0n ? 'was not closed in order' : '';
}
