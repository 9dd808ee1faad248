"""Runs moto, which stands in for S3, IAM and STS, until its standard input ends. Says where and for whom in one line of JSON.

s3_server.py          anybody may do anything, signed or not
s3_server.py users    requests are checked: a user with the bucket "guarded" may put objects there, an admin may do everything
"""

import json
import os
import sys

USERS = sys.argv[1:] == ["users"]
# What is done below, before requests are checked.
ACTIONS = 7
if USERS:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = str(ACTIONS)

from moto.server import ThreadedMotoServer  # noqa: E402: it reads the environment when it is imported


def make_user(iam, name, actions):
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def make_users(url):
    import boto3

    def client(service):
        return boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")

    client("s3").create_bucket(Bucket="guarded")
    iam = client("iam")
    return {"writer": make_user(iam, "writer", ["s3:PutObject"]), "admin": make_user(iam, "admin", ["*"])}


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    print(json.dumps({"url": url, "users": make_users(url) if USERS else {}}), flush=True)
    # Ends with the process that started it, however that ends.
    sys.stdin.read()


if __name__ == "__main__":
    main()
