#!/bin/sh
# Regions of the files that each target is about, reached by its seeds, by what was found (fuzz/corpus) and by a few
# changes to each seed: fuzz/coverage.sh [TARGET...]. Without a target all of them, one by one and together; with
# SHOW=1 also the lines that are not reached. Twelve times $CHANGES (2000) inputs are made of the seeds of a target, a twentieth
# of it where an input takes long. One program for all: the tests that replay the seeds. See fuzz/README.md.
set -eu
cd "$(dirname "$0")/.."
out=target/coverage
mkdir -p $out
# llvm-tools are of the compiler's version of LLVM, or of the nightly one's, which reads it as well.
for toolchain in "" +nightly; do
    # shellcheck disable=SC2086
    tools=$(rustc $toolchain --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin
    [ ! -x "$tools/llvm-cov" ] || break
done

sources() {
    case $1 in
        ike_message | ike_inner_chain) echo src/wire/ike ;;
        inner_ip) echo src/wire/ip.rs src/wire/ipv4.rs src/wire/ipv6.rs src/wire/tcp.rs src/wire/udp.rs src/wire/icmp.rs src/wire/checksum.rs src/wire/natt.rs ;;
        selectors) echo src/policy/selector.rs src/policy/narrow.rs src/policy/classifier.rs src/policy/spd.rs ;;
        proposals) echo src/ike/negotiate.rs ;;
        fragments) echo src/ike/fragment.rs ;;
        rewrite) echo src/wire/rewrite.rs ;;
        segment) echo src/dataplane/segment.rs src/dataplane/coalesce.rs src/wire/vnet.rs ;;
        tcp_tracker) echo src/inspect/tcp src/inspect/stream src/inspect/case.rs src/inspect/ear.rs src/inspect/ending.rs src/inspect/flow.rs src/inspect/flow_table.rs src/inspect/icmp.rs src/inspect/live.rs src/inspect/slots.rs src/wire/tcp_options.rs ;;
        esp_open) echo src/esp src/dataplane src/wire/esp.rs ;;
        responder | initiator | simulation) echo src/ike ;;
        certificate) echo src/crypto/certificate ;;
        eap) echo src/ike/eap ;;
        config_file) echo src/config/*.rs src/config/validate ;;
        # What of it is the agreement: its record, its documents, its facts, its tests and its approval.
        agreement_file) echo src/config/subject.rs src/config/cases.rs src/config/validate/agreement.rs src/config/validate/document.rs src/config/validate/case.rs ;;
        import_file) echo src/config/import ;;
        capture) echo src/wire/pcap.rs src/inspect/replay.rs src/inspect/replay ;;
        explain) echo src/report/explain src/lab/pcap_reader.rs ;;
        # One function; the rest of these files is the socket itself.
        control_socket) echo src/runtime/admin_socket.rs src/runtime/protocol.rs ;;
        recognise_ssh) echo src/inspect/recognise/ssh.rs ;;
        recognise_*) echo "src/inspect/recognise/${1#recognise_}" ;;
        agreement_state) echo src/agreement ;;
        together) echo src ;;
    esac
}

# This crate alone is instrumented; the others are those of the ordinary tests.
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' >$out/instrumented
chmod +x $out/instrumented
program=$(RUSTC_WORKSPACE_WRAPPER=$PWD/$out/instrumented cargo test --test fuzz_seeds --no-run --message-format json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*fuzz_seeds[^"]*\)".*/\1/p')

# report NAME: regions, and how many of them were reached.
report() {
    # shellcheck disable=SC2046
    "$tools/llvm-cov" report "$program" -instr-profile="$out/$1.profdata" -ignore-filename-regex='fuzz\.rs|tests?\.rs|/tests/' \
        --sources $(sources "$2") >"$out/$1-$2.txt"
    awk -v name="$1" -v of="$(sources "$2")" '/^TOTAL/ { printf "%-18s %6d %6d %7s  %s\n", name, $2, $2 - $3, $4, of }' "$out/$1-$2.txt"
    [ -z "${SHOW:-}" ] || "$tools/llvm-cov" show "$program" -instr-profile="$out/$1.profdata" -show-regions \
        -ignore-filename-regex='fuzz\.rs|tests?\.rs|/tests/' --sources $(sources "$2") >"$out/$1.lines"
}

changes=${CHANGES:-2000}
targets=${*:-$(ls fuzz/seeds)}
for target in $targets; do
    rm -f "$out/$target".*.profraw
    # Fewer where an input takes long.
    case $target in
        responder | initiator | esp_open | agreement_state | capture | explain | config_file) mutants=$((changes / 20)) ;;
        tcp_tracker) mutants=$((changes / 4)) ;;
        *) mutants=$changes ;;
    esac
    PORTCULLIS_TARGET=$target PORTCULLIS_CORPUS=fuzz/corpus PORTCULLIS_MUTANTS=$mutants LLVM_PROFILE_FILE="$out/$target.%p.profraw" "$program" \
        every_seed changed_seeds >"$out/$target.log" 2>&1 || echo "$target: failed, see $out/$target.log"
    "$tools/llvm-profdata" merge -sparse "$out/$target".*.profraw -o "$out/$target.profdata"
    rm -f "$out/$target".*.profraw
    report "$target" "$target"
    [ "$target" != config_file ] || SHOW="" report "$target" agreement_file
done
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046
    "$tools/llvm-profdata" merge -sparse $(for target in $targets; do echo "$out/$target.profdata"; done) -o "$out/together.profdata"
    for target in $targets agreement_file; do report together "$target"; done
fi
