#!/bin/sh
# Pays an orchestrator through the signer with nothing but curl and jq.
#
#   SIGNER=http://127.0.0.1:8936 ORCHESTRATOR=https://host:8935 docs/examples/session.sh
#
# PAYMENTS   how many payments to make (10)
# TYPE       live (by the second) or lv2v (by the pixel)
# PAUSE      seconds between two calls; default: what the signer's reply says
# AUTH       a header for the signer, such as "Authorization: Bearer TOKEN"
#
# Exit status: 0 all payments were taken, 1 something failed, 3 the orchestrator's price is above a ceiling.
set -eu

: "${SIGNER:?set it to the URL of the signer, such as http://127.0.0.1:8936}"
: "${ORCHESTRATOR:?set it to the URL of the orchestrator, such as https://host:8935}"
PAYMENTS=${PAYMENTS:-10}
TYPE=${TYPE:-live}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ask PATH: sends $work/request to the signer, leaves the reply in $work/reply and its status in $status
ask() {
  status=$(curl -sS -o "$work/reply" -w '%{http_code}' -H 'Content-Type: application/json' \
    ${AUTH:+-H "$AUTH"} --data-binary "@$work/request" "$SIGNER$1")
}

complain() {
  echo "$1: status $status: $(jq -r '.error | "\(.message) (\(.code)) \(.hint // "")"' "$work/reply")" >&2
}

# The signer asks the orchestrator over gRPC; its terms come back as JSON.
fetch_terms() {
  jq -n --arg url "$ORCHESTRATOR" '{orchestrator: $url}' >"$work/request"
  ask /getOrchestratorInfo
  if [ "$status" != 200 ]; then
    complain "no terms from $ORCHESTRATOR"
    exit 1
  fi
  jq .orchestratorInfo "$work/reply" >"$work/terms"
}

# The tickets go to the orchestrator as two headers. Its certificate is self-signed: -k.
deliver() {
  jq -r '"Livepeer-Payment: \(.payment)", "Livepeer-Segment: \(.segCreds)"' "$work/reply" >"$work/headers"
  taken=$(curl -sSk --http1.1 -o "$work/taken" -w '%{http_code}' -X POST -H "@$work/headers" "$(jq -r .transcoder "$work/terms")/payment")
  if [ "$taken" != 200 ]; then
    echo "the orchestrator refused the payment: status $taken: $(head -c 300 "$work/taken")" >&2
    exit 1
  fi
}

fetch_terms
echo null >"$work/state" # no state: a new session
made=0
renewed=0
while [ "$made" -lt "$PAYMENTS" ]; do
  jq -n --slurpfile terms "$work/terms" --slurpfile state "$work/state" --arg type "$TYPE" \
    '{orchestratorInfo: $terms[0], signerState: $state[0], type: $type}' >"$work/request"
  ask /signTicket
  pause=${PAUSE:-5}
  case $status in
  200)
    deliver
    made=$((made + 1))
    renewed=0
    jq .signerState "$work/reply" >"$work/state" # goes back with the next call, as it is
    jq -r --arg n "$made" '"payment \($n): \(.tickets | length) tickets for \(.fee) wei, credit \(.creditSeconds // "-") s"' "$work/reply"
    pause=${PAUSE:-$(jq -r '.nextPaymentInSeconds // 5' "$work/reply")}
    ;;
  480)
    renewed=$((renewed + 1))
    if [ "$renewed" -gt 2 ]; then
      complain "480 three times in a row: $ORCHESTRATOR gives no terms that last"
      exit 1
    fi
    echo "480: the terms are used up, fetching fresh ones"
    fetch_terms
    continue
    ;;
  482)
    renewed=0
    pause=${PAUSE:-$(jq -r '.error.nextPaymentInSeconds // 5' "$work/reply")}
    echo "482: the credit still lasts, for $pause s"
    ;;
  481)
    complain "too dear"
    exit 3
    ;;
  *)
    complain "no payment"
    exit 1
    ;;
  esac
  [ "$made" -ge "$PAYMENTS" ] || sleep "$pause"
done
