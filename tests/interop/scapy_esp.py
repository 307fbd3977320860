"""ESP as scapy understands it: a second opinion on raw ESP and on extended sequence numbers (RFC 4303 §2.2.1).

Reads one JSON request from standard input, writes one JSON answer.

  {"op": "open", "pcap": PATH, "keys": {SPI: HEX, ..}}
      opens every ESP packet of a capture, integrity checked with high-order bits zero
  {"op": "seal", "spi": N, "key": HEX, "outer": [SOURCE, DESTINATION], "inner": [SOURCE, DESTINATION],
   "packets": [[HIGH, LOW, PORT], ..]}
      seals a SYN from PORT to 1414 with each sequence number HIGH * 2^32 + LOW

Keys are AES-256 with the salt of RFC 4106 behind it, as in Wireshark's esp_sa table.
"""

import json
import sys

from scapy.all import IP, TCP, rdpcap
from scapy.layers.ipsec import ESP, SecurityAssociation


def association(spi, key, outer=("0.0.0.0", "0.0.0.0")):
    header = IP(src=outer[0], dst=outer[1])  # tunnel mode; only sealing looks at the addresses
    return SecurityAssociation(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=bytes.fromhex(key), tunnel_header=header)


def open_capture(request):
    associations = {int(spi, 16): association(int(spi, 16), key) for spi, key in request["keys"].items()}
    answer = {"opened": {}, "failed": 0, "sources": [], "first": {}, "last": {}}
    for packet in rdpcap(request["pcap"]):
        if ESP not in packet:
            continue
        esp = packet[ESP]
        spi = f"{esp.spi:08x}"
        try:
            inner = associations[esp.spi].decrypt(packet[IP], verify=True, esn_en=True, esn=0)
        except Exception as error:  # a failure of any kind is what the test asks for
            answer["failed"] += 1
            answer["error"] = repr(error)
            continue
        answer["opened"][spi] = answer["opened"].get(spi, 0) + 1
        answer["first"].setdefault(spi, esp.seq)
        answer["last"][spi] = esp.seq
        if inner.src not in answer["sources"]:
            answer["sources"].append(inner.src)
    return answer


def seal(request):
    sa = association(request["spi"], request["key"], request["outer"])
    source, destination = request["inner"]
    sealed = []
    for high, low, port in request["packets"]:
        inner = IP(src=source, dst=destination) / TCP(sport=port, dport=1414, flags="S", seq=port)
        sealed.append(bytes(sa.encrypt(inner, seq_num=low, esn_en=True, esn=high)).hex())
    return {"sealed": sealed}


request = json.load(sys.stdin)
json.dump({"open": open_capture, "seal": seal}[request["op"]](request), sys.stdout)
