import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { Pressure } from './pressure.ts';
import { Uploader } from './uploader.ts';

type Session = ConstructorParameters<typeof Uploader>[0];

/** A vault that has the chunks of `present` and answers probes late, in its own order. */
function vault(present: (id: number) => boolean, delays: () => number) {
  const sent: number[] = [];
  const probes: number[] = [];
  const session: Session = {
    onStored: undefined,
    async probe(ids) {
      probes.push(ids.length / 32);
      await new Promise((resolve) => setTimeout(resolve, delays()));
      return Uint8Array.from({ length: ids.length / 32 }, (_, i) => (present(ids[i * 32]!) ? 1 : 0));
    },
    async send({ id }) {
      sent.push(id[0]!);
      if (delays() % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      setImmediate(() => session.onStored?.(sent.length, 0));
    },
    drained: () => new Promise((resolve) => setTimeout(resolve, 1)),
  };
  return { session, sent, probes };
}

const free = { take: async () => undefined };
const id = (n: number) => Buffer.alloc(32, n);

describe('backup/uploader', () => {
  it('U1 U2 U3 sends what is missing and every node in the order offered, and lets go of every byte', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ node: fc.boolean(), present: fc.boolean() }), { maxLength: 60 }),
        fc.infiniteStream(fc.nat(3)),
        async (objects, delays) => {
          const pressure = new Pressure();
          const { session, sent } = vault(
            (n) => objects[n]!.present,
            () => delays.next().value as number,
          );
          const uploader = new Uploader(session, free, pressure);
          objects.forEach(({ node }, n) => {
            const envelope = Buffer.alloc(n + 1);
            pressure.hold(envelope.length);
            if (node) uploader.offerNode({ id: id(n), envelope, referenceProofs: Buffer.alloc(0) });
            else uploader.offerChunk({ id: id(n), envelope, plainLength: 10 });
          });
          await uploader.finish();
          await new Promise((resolve) => setTimeout(resolve, 2));
          const expected = objects.flatMap(({ node, present }, n) => (node || !present ? [n] : []));
          expect(sent).to.deep.equal(expected);
          expect(pressure.heldBytes()).to.equal(0);
          expect(uploader.newPlainBytes).to.equal(objects.filter(({ node, present }) => !node && !present).length * 10);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('asks about chunks that come together in one question', async () => {
    const { session, probes } = vault(
      () => true,
      () => 1,
    );
    const uploader = new Uploader(session, free, new Pressure());
    for (let n = 0; n < 100; n++) uploader.offerChunk({ id: id(n), envelope: Buffer.alloc(1), plainLength: 1 });
    await uploader.finish();
    expect(probes).to.deep.equal([100]);
  });

  it('a session that fails fails the upload', async () => {
    const { session } = vault(
      () => false,
      () => 0,
    );
    session.send = async () => {
      throw new HoldfastError('SESSION_ENDED', 'gone');
    };
    const uploader = new Uploader(session, free, new Pressure());
    uploader.offerChunk({ id: id(1), envelope: Buffer.alloc(1), plainLength: 1 });
    const failure = await uploader.failed().catch((error: unknown) => error);
    expect((failure as HoldfastError).code).to.equal('SESSION_ENDED');
  });

  it('a probe that fails fails the upload, and nothing behind it is sent', async () => {
    const { session, sent } = vault(
      () => false,
      () => 0,
    );
    session.probe = async () => {
      throw new HoldfastError('UNREACHABLE', 'no answer');
    };
    const uploader = new Uploader(session, free, new Pressure());
    uploader.offerChunk({ id: id(1), envelope: Buffer.alloc(1), plainLength: 1 });
    uploader.offerNode({ id: id(2), envelope: Buffer.alloc(1), referenceProofs: Buffer.alloc(0) });
    const failure = await uploader.finish().catch((error: unknown) => error);
    expect((failure as HoldfastError).code).to.equal('UNREACHABLE');
    expect(sent).to.deep.equal([]);
  });
});
