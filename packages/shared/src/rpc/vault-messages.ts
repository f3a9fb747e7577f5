// The vault's two messages that carry content, read and written without needless copies.
//
// Hazard: generated code copies every `bytes` field, gRPC copies every message, and what is copied is garbage outside the
// JavaScript heap. At 100 MB/s that alone costs a processor a third of its time in collections. So here the fields of a part
// are views of the received message, and a part is written once.
//
// Everything else, and every message that isn't exactly a part, goes through the generated code: the bytes on the wire are
// the same (vault-messages.test.ts holds the two against each other).

import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  BackupRequest,
  type ObjectPart,
  ReadResponse,
  type ServedPart,
  VaultDefinition,
} from './gen/holdfast/v1/vault.ts';

const NONE = Buffer.alloc(0);

/** `part`, length-delimited: field 3 of a request, field 2 of an answer. */
const OBJECT_PART_TAG = 0x1a;
const SERVED_PART_TAG = 0x12;
const LENGTH_DELIMITED = 2;

/** As BackupRequest.decode; the fields of a part are views of `bytes`. */
export function decodeBackupRequest(bytes: Uint8Array): BackupRequest {
  const part = decodePart(bytes, OBJECT_PART_TAG, newObjectPart, readObjectPart);
  return part === undefined ? BackupRequest.decode(bytes) : { kind: { $case: 'part', value: part } };
}

/** As ReadResponse.decode; the fields of a part are views of `bytes`. */
export function decodeReadResponse(bytes: Uint8Array): ReadResponse {
  const part = decodePart(bytes, SERVED_PART_TAG, newServedPart, readServedPart);
  return part === undefined ? ReadResponse.decode(bytes) : { kind: { $case: 'part', value: part } };
}

/**
 * As BackupRequest.encode, with the content copied once. The bytes are nobody else's: grpc-js says that it has taken a message
 * while it still holds it, for a transparent retry.
 */
export function encodeBackupRequest(request: BackupRequest): Uint8Array {
  if (request.kind?.$case !== 'part') return BackupRequest.encode(request).finish();
  const { data, ...rest } = request.kind.value;
  const fields = new BinaryWriter();
  fields.uint32(10).bytes(rest.id);
  fields.uint32(16).uint32(rest.totalLength);
  if (rest.offset !== 0) fields.uint32(24).uint32(rest.offset);
  if (rest.referenceProofs.length > 0) fields.uint32(42).bytes(rest.referenceProofs);
  // The content comes last, so that everything before it is known when it is copied.
  const head = fields.uint32(34).uint32(data.length).finish();
  const prefix = new BinaryWriter()
    .uint32(OBJECT_PART_TAG)
    .uint32(head.length + data.length)
    .finish();

  const bytes = Buffer.allocUnsafeSlow(prefix.length + head.length + data.length);
  bytes.set(prefix, 0);
  bytes.set(head, prefix.length);
  bytes.set(data, prefix.length + head.length);
  return bytes;
}

/**
 * Encodes answers for nice-grpc's server. The bytes of one answer are given back when the next is encoded: grpc-js's server
 * has copied them into a frame by then, in the same turn (serializeMessage in its server-interceptors.ts). They come as an
 * ArrayBuffer because nice-grpc puts `Buffer.from` around them, which copies an array and takes a buffer as it is.
 */
class ReadResponseEncoder {
  #previous: ArrayBuffer | undefined;

  encode(response: ReadResponse): ArrayBuffer {
    const { kind } = response;
    const data = kind?.$case === 'part' ? kind.value.data : NONE;
    const small: ReadResponse =
      kind?.$case === 'part' ? { kind: { $case: 'part', value: { ...kind.value, data: NONE } } } : response;
    const bytes = data.length === 0 ? copyOf(ReadResponse.encode(small).finish()) : partWithData(small, data);
    this.#previous?.transfer(0);
    this.#previous = bytes;
    return bytes;
  }
}

/** Field 6 of ServedPart, length-delimited. */
const SERVED_DATA_TAG = 0x32;

/** A part's fields as the generated code writes them, and its content behind them. */
function partWithData(withoutData: ReadResponse, data: Uint8Array): ArrayBuffer {
  const encoded = ReadResponse.encode(withoutData).finish();
  const reader = new BinaryReader(encoded);
  reader.uint32();
  const fields = reader.bytes();
  const dataHead = new BinaryWriter().uint32(SERVED_DATA_TAG).uint32(data.length).finish();
  const length = fields.length + dataHead.length + data.length;
  const head = new BinaryWriter().uint32(SERVED_PART_TAG).uint32(length).finish();
  const bytes = new Uint8Array(head.length + length);
  bytes.set(head, 0);
  bytes.set(fields, head.length);
  bytes.set(dataHead, head.length + fields.length);
  bytes.set(data, head.length + fields.length + dataHead.length);
  return bytes.buffer;
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

const readResponses = new ReadResponseEncoder();

/** The generated definition, with requests decoded and answers encoded as above: for the server. */
export const LeanVaultDefinition = {
  ...VaultDefinition,
  methods: {
    ...VaultDefinition.methods,
    backup: {
      ...VaultDefinition.methods.backup,
      requestType: { ...BackupRequest, decode: decodeBackupRequest },
    },
    read: {
      ...VaultDefinition.methods.read,
      responseType: {
        decode: (bytes: Uint8Array) => ReadResponse.decode(bytes),
        encode: (response: ReadResponse) => ({ finish: () => readResponses.encode(response) }),
      },
    },
  },
} as unknown as typeof VaultDefinition;

function decodePart<Part>(
  bytes: Uint8Array,
  partTag: number,
  empty: () => Part,
  read: (part: Part, field: number, type: number, reader: BinaryReader) => boolean,
): Part | undefined {
  if (bytes[0] !== partTag) return undefined;
  const reader = new BinaryReader(bytes);
  reader.uint32();
  const length = reader.uint32();
  // Anything behind the part: left to the generated code.
  if (reader.pos + length !== bytes.length) return undefined;
  const part = empty();
  try {
    while (reader.pos < bytes.length) {
      const [field, type] = reader.tag();
      if (!read(part, field, type, reader)) return undefined;
    }
  } catch {
    // Garbled: what that means is the generated code's to say.
    return undefined;
  }
  return part;
}

function view(reader: BinaryReader): Buffer {
  const bytes = reader.bytes();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function newObjectPart(): ObjectPart {
  return { id: NONE, totalLength: 0, offset: 0, data: NONE, referenceProofs: NONE };
}

/** False for what is not a field of a part as it should be. */
function readObjectPart(part: ObjectPart, field: number, type: number, reader: BinaryReader): boolean {
  const wanted = field === 2 || field === 3 ? 0 : LENGTH_DELIMITED;
  if (type !== wanted) return false;
  if (field === 1) part.id = view(reader);
  else if (field === 2) part.totalLength = reader.uint32();
  else if (field === 3) part.offset = reader.uint32();
  else if (field === 4) part.data = view(reader);
  else if (field === 5) part.referenceProofs = view(reader);
  else return false;
  return true;
}

function newServedPart(): ServedPart {
  return {
    tag: 0n,
    reference: 0,
    id: NONE,
    totalLength: 0,
    offset: 0,
    data: NONE,
    mac: NONE,
    pack: '',
    packOffset: 0n,
  };
}

function readServedPart(part: ServedPart, field: number, type: number, reader: BinaryReader): boolean {
  const isNumber = field === 1 || field === 2 || field === 4 || field === 5 || field === 9;
  if (type !== (isNumber ? 0 : LENGTH_DELIMITED)) return false;
  if (field === 1) part.tag = BigInt(reader.uint64());
  else if (field === 2) part.reference = reader.uint32();
  else if (field === 3) part.id = view(reader);
  else if (field === 4) part.totalLength = reader.uint32();
  else if (field === 5) part.offset = reader.uint32();
  else if (field === 6) part.data = view(reader);
  else if (field === 7) part.mac = view(reader);
  else if (field === 8) part.pack = reader.string();
  else if (field === 9) part.packOffset = BigInt(reader.uint64());
  else return false;
  return true;
}
