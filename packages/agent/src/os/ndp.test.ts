import { expect } from 'chai';
import { announceByNdp, askByNdp, isHeldByNdp } from './ndp.ts';
import type { PacketSocket } from './packet-socket.ts';

const OWN = Buffer.from('020000000001', 'hex');
const OTHER = Buffer.from('020000000002', 'hex');

function sentBy(hardwareAddress: Buffer, work: (socket: PacketSocket) => void): { packet: Buffer; to: string } {
  const sent: { packet: Buffer; to: string }[] = [];
  work({
    hardwareAddress,
    send: (packet, to) => void sent.push({ packet: Buffer.from(packet), to: to.toString('hex') }),
    arrived: () => [],
    close: () => undefined,
  });
  const [only] = sent;
  if (only === undefined || sent.length !== 1) throw new Error('one packet was expected');
  return only;
}

describe('Neighbour Discovery', () => {
  it('advertises to all nodes, from the address, with override and without being asked', () => {
    const { packet, to } = sentBy(OWN, (socket) => announceByNdp(socket, 'fd00:77::100'));
    expect(to).to.equal('333300000001');
    expect(packet.subarray(0, 8).toString('hex')).to.equal('6000000000203aff');
    expect(packet.subarray(8, 24).toString('hex')).to.equal('fd000077000000000000000000000100');
    expect(packet.subarray(24, 40).toString('hex')).to.equal('ff020000000000000000000000000001');
    expect(packet.subarray(40, 42).toString('hex')).to.equal('8800');
    expect(packet.subarray(44, 48).toString('hex')).to.equal('20000000');
    expect(packet.subarray(48, 64).toString('hex')).to.equal('fd000077000000000000000000000100');
    expect(packet.subarray(64).toString('hex')).to.equal('0201020000000001');
  });

  it('asks the group of the address’s last three bytes, from nobody, so that no entry changes', () => {
    const { packet, to } = sentBy(OWN, (socket) => askByNdp(socket, '2001:db8::12:3456'));
    expect(to).to.equal('3333ff123456');
    expect(packet.subarray(8, 24).equals(Buffer.alloc(16))).to.equal(true);
    expect(packet.subarray(24, 40).toString('hex')).to.equal('ff0200000000000000000001ff123456');
    expect(packet.subarray(40, 42).toString('hex')).to.equal('8700');
    expect(packet.length).to.equal(64);
  });

  it('an advertisement of another host counts; one’s own that came back, of another address, damaged, from afar, or a question does not', () => {
    const { packet } = sentBy(OTHER, (socket) => announceByNdp(socket, 'fd00:77::100'));
    expect(isHeldByNdp(packet, OWN, 'fd00:77::100')).to.equal(true);
    expect(isHeldByNdp(packet, OTHER, 'fd00:77::100')).to.equal(false);
    expect(isHeldByNdp(packet, OWN, 'fd00:77::101')).to.equal(false);
    for (const at of [7, 40, 41, 45, 70]) {
      const damaged = Buffer.from(packet);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(isHeldByNdp(damaged, OWN, 'fd00:77::100'), `byte ${at}`).to.equal(false);
    }
    for (let length = 0; length < packet.length; length++) {
      expect(isHeldByNdp(packet.subarray(0, length), OWN, 'fd00:77::100'), `${length} bytes`).to.equal(false);
    }
    const asked = sentBy(OTHER, (socket) => askByNdp(socket, 'fd00:77::100'));
    expect(isHeldByNdp(asked.packet, OWN, 'fd00:77::100')).to.equal(false);
  });
});
