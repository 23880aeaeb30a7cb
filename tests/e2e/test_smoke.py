import json, time
def test_pod(e2e):
    pod = {"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"busybox","imagePullPolicy":"IfNotPresent","command":["sh","-c","id; hostname; nslookup kubernetes.default; wget -q -O- --no-check-certificate https://10.0.0.1/version; sleep 1000"]}]}}
    e2e.kubectl("wait","--for=create","serviceaccount/default","--timeout=60s")
    e2e.kubectl("apply","-f","-",stdin=json.dumps(pod))
    for _ in range(40):
        time.sleep(1)
        p = e2e.get("pod","x")
        if p["status"]["phase"]=="Running": break
    time.sleep(5)
    print(e2e.kubectl("get","pods","-A","-o","wide"))
    print(e2e.kubectl("get","events","-A"))
    print(e2e.kubectl("logs","x"))
    print(e2e.kubectl("exec","x","--","ls","-l","/"))
    assert p["status"]["phase"]=="Running"
