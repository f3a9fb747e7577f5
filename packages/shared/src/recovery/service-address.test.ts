import { expect } from 'chai';
import { readServiceAddress } from './service-address.ts';

const prefixedOf = (given: string): string | undefined => {
  const read = readServiceAddress(given);
  return typeof read === 'string' ? undefined : read.prefixed;
};

describe('a service address', () => {
  it('is IPv4 or IPv6, in the one text that the kernel writes it in', () => {
    expect(readServiceAddress('10.77.0.100/24')).to.deep.equal({
      family: 4,
      ip: '10.77.0.100',
      prefixLength: 24,
      prefixed: '10.77.0.100/24',
    });
    expect(prefixedOf('FD00:0077:0::0100/64')).to.equal('fd00:77::100/64');
    expect(prefixedOf('fd00:0:0:1:0:0:0:1/064')).to.equal('fd00:0:0:1::1/64');
    expect(prefixedOf('2001:db8::1')).to.equal('2001:db8::1/128');
    expect(prefixedOf('10.0.0.1')).to.equal('10.0.0.1/32');
  });

  it('is nothing that another host could have as well, or that a client could not reach', () => {
    const unreadable = ', dev, 10.0.0/24, 10.0.0.1/33, 10.0.0.1/, 10.0.0.1/24/1, 10.0.0.1/-1, fd00::1/129, fd00::1/x';
    const elsewhere =
      '::/64, ::1/128, ::ffff:10.0.0.1/128, fe80::1/64, febf::1/64, ff02::1/64, 127.0.0.1/8, 0.0.0.0/0, 224.0.0.1/4';
    for (const wrong of [...unreadable.split(', '), ...elsewhere.split(', ')]) {
      expect(prefixedOf(wrong), wrong).to.equal(undefined);
    }
    expect(readServiceAddress('[fd00::1]/64')).to.contain('without brackets');
    expect(readServiceAddress('fd00::1%eth0/64')).to.contain('zone');
  });
});
